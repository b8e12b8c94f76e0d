import { DekdError } from '../../src/errors.ts';
import { UpstreamFailure } from '../../src/upstream/failure.ts';
import { changeRootKey } from '../../src/upstream/local/change-root-key.ts';
import type { LocalClock } from '../../src/upstream/local/clock.ts';
import { openLocal } from '../../src/upstream/local/open.ts';
import type { LocalUpstream } from '../../src/upstream/local/provider.ts';
import type { KekChange } from '../../src/upstream/provider.ts';

/** Something that is done to a keystore. What is the same in one store as in another is all but the keys. */
export type Operation = { readonly atMs: number } & (
  | { readonly kind: 'create' | 'rotate'; readonly kek: string }
  | { readonly kind: 'change'; readonly kek: string; readonly change: KekChange }
  | { readonly kind: 'schedule' | 'cancel'; readonly kek: string; readonly by: string }
  | { readonly kind: 'partition'; readonly kek: string; readonly change: 'disable' | 'enable'; readonly tenant: string }
  /** What a time that has come brings: rotation, destruction, the end of a request to delete. */
  | { readonly kind: 'look' }
  | { readonly kind: 'change-root-key'; readonly to: string }
);

const DAY_MS = 86_400_000;

/** Stands still, at the time of the operation that is done. */
class OperationClock implements LocalClock {
  nowMs = 0;
  #look: (() => void) | undefined;

  wallMs(): number {
    return this.nowMs;
  }

  bootMs(): number {
    return this.nowMs;
  }

  after(_ms: number, run: () => void): () => void {
    this.#look = run;
    return () => {
      this.#look = undefined;
    };
  }

  look(): void {
    this.#look?.();
  }
}

/** A keystore and whoever works with it: the child that is killed, or the parent that does the same in a copy. */
export class OperatedStore {
  readonly #directory: string;
  readonly #clock = new OperationClock();
  #rootKeyFile: string;
  #upstream: LocalUpstream | undefined;

  constructor(directory: string, rootKeyFile: string) {
    this.#directory = directory;
    this.#rootKeyFile = rootKeyFile;
  }

  get upstream(): LocalUpstream {
    if (this.#upstream === undefined) throw new Error('the store is not open');
    return this.#upstream;
  }

  async open(): Promise<void> {
    this.#upstream = await openLocal('store', {
      type: 'local',
      directory: this.#directory,
      rootKey: { file: this.#rootKeyFile },
      schedule: { rotateAfterMs: 5 * DAY_MS, maxVersions: 3 },
      clock: this.#clock,
    });
  }

  async close(): Promise<void> {
    await this.#upstream?.close();
    this.#upstream = undefined;
  }

  /** `ok`, or why it was refused. Throws what no caller can cause. */
  async apply(operation: Operation): Promise<string> {
    this.#clock.nowMs = operation.atMs;
    try {
      await this.#perform(operation);
      return 'ok';
    } catch (error) {
      if (error instanceof UpstreamFailure) return `${error.class}: ${error.message}`;
      const { reason, message } = DekdError.from(error);
      if (reason === 'INTERNAL') throw error;
      return `${reason}: ${message}`;
    }
  }

  async #perform(operation: Operation): Promise<unknown> {
    const { upstream } = this;
    switch (operation.kind) {
      case 'create':
        return upstream.createKek(operation.kek, new Map([['made', String(operation.atMs)]]), 'uid 2001');
      case 'rotate':
        return upstream.rotateKek(`local:${operation.kek}`, 'uid 2001');
      case 'change':
        return upstream.changeKek(`local:${operation.kek}`, operation.change, 'uid 2001');
      case 'schedule': {
        const request = { by: operation.by, waitingPeriodMs: 7 * DAY_MS, custodians: 2 };
        return upstream.scheduleKekDeletion(`local:${operation.kek}`, request);
      }
      case 'cancel':
        return upstream.cancelKekDeletion(`local:${operation.kek}`, operation.by);
      case 'partition': {
        const partition = new Map([['tenant', operation.tenant]]);
        return upstream.changePartition(`local:${operation.kek}`, 'orders', partition, operation.change, 'uid 2001');
      }
      case 'look':
        return this.#clock.look();
      case 'change-root-key':
        return this.#changeRootKey(operation.to);
    }
  }

  async #changeRootKey(to: string): Promise<void> {
    await this.close();
    if (to !== this.#rootKeyFile) changeRootKey(this.#directory, { file: this.#rootKeyFile }, { file: to });
    this.#rootKeyFile = to;
    await this.open();
  }
}
