import { DekdError } from '../../src/errors.ts';
import { UpstreamFailure } from '../../src/upstream/failure.ts';
import type {
  DeletionRequest,
  KekChange,
  KekDescription,
  KekLifecycle,
  KekState,
  Upstream,
} from '../../src/upstream/provider.ts';

type Change = 'create' | 'rotate' | KekChange | 'schedule' | 'cancel' | 'disable partition' | 'enable partition';

const PREFIX = 'local:a/';

/**
 * An upstream that leads KEKs through their states and never wraps anything. It refuses nothing by itself: `fail` says what fails, and
 * `calls` what was asked, in order.
 */
export class LifecycleUpstream implements Upstream, KekLifecycle {
  readonly type = 'local';
  readonly warnings: readonly string[] = [];
  readonly calls: string[] = [];
  /** Thrown by the next change of that kind, before anything is changed. */
  readonly fail = new Map<Change, Error>();
  /** By URI. */
  readonly keks = new Map<string, KekDescription>();
  onKekChange: ((kek: KekDescription) => void) | undefined;
  store = Buffer.from('a store');

  constructor(...names: string[]) {
    for (const name of names) {
      this.put({ uri: PREFIX + name, state: 'active', versions: [version(1)], labels: new Map() });
    }
  }

  /** The KEK is so from now on, and nobody is told. */
  put(kek: KekDescription): KekDescription {
    this.keks.set(kek.uri, kek);
    return kek;
  }

  /** As its time had come: changed, and told. */
  tell(uri: string, change: Partial<KekDescription>): void {
    const changed = this.put({ ...this.#find(uri), ...change });
    this.onKekChange?.(changed);
  }

  resolve(reference: string): string {
    return reference.startsWith(PREFIX) ? reference : reference.replace('local:', PREFIX);
  }

  wrap(): Promise<never> {
    return Promise.reject(new UpstreamFailure('unreachable', 'never wraps'));
  }

  unwrap(): Promise<never> {
    return Promise.reject(new UpstreamFailure('unreachable', 'never unwraps'));
  }

  async describe(kek: string): Promise<KekDescription> {
    const found = this.keks.get(kek);
    if (found === undefined) throw new UpstreamFailure('refused', 'none', { scope: 'kek', condition: 'missing' });
    return found;
  }

  createKek(name: string, labels: ReadonlyMap<string, string>, by: string): Promise<KekDescription> {
    this.put({ uri: PREFIX + name, state: 'active', versions: [], labels });
    return this.#change('create', PREFIX + name, { versions: [version(1)] }, by);
  }

  rotateKek(kek: string, by: string): Promise<KekDescription> {
    return this.#change('rotate', kek, { versions: rotated(this.#find(kek)) }, by);
  }

  changeKek(kek: string, change: KekChange, by: string): Promise<KekDescription> {
    const states: Record<KekChange, KekState> = { disable: 'disabled', enable: 'active', archive: 'archived' };
    return this.#change(change, kek, { state: states[change] }, by);
  }

  /** In effect once as many have asked as are needed. */
  scheduleKekDeletion(kek: string, { by, waitingPeriodMs, custodians }: DeletionRequest): Promise<KekDescription> {
    const requestedBy = [...(this.#find(kek).deletion?.requestedBy ?? []), by];
    const at = requestedBy.length < custodians ? undefined : 1_000 + waitingPeriodMs;
    const state = at === undefined ? this.#find(kek).state : 'pending-deletion';
    return this.#change('schedule', kek, { state, deletion: { requestedBy, waitingPeriodMs, at } }, by);
  }

  cancelKekDeletion(kek: string, by: string): Promise<KekDescription> {
    const { deletion, ...rest } = this.#find(kek);
    this.put(rest);
    return this.#change('cancel', kek, deletion?.at === undefined ? {} : { state: 'disabled' }, by);
  }

  async changePartition(
    kek: string,
    keyName: string,
    partition: ReadonlyMap<string, string>,
    change: 'disable' | 'enable',
    by: string,
  ): Promise<void> {
    this.#failing(`${change} partition`);
    this.calls.push(`${change} ${keyName} ${JSON.stringify([...partition])} ${kek} ${by}`);
  }

  async listKeks(): Promise<{ name: string; kek: KekDescription }[]> {
    return [...this.keks].map(([uri, kek]) => ({ name: uri.slice(PREFIX.length), kek }));
  }

  async backup(): Promise<Buffer> {
    return this.store;
  }

  async close(): Promise<void> {}

  async #change(kind: Change, uri: string, change: Partial<KekDescription>, by: string): Promise<KekDescription> {
    this.#failing(kind);
    this.calls.push(`${kind} ${uri} ${by}`);
    this.tell(uri, change);
    return this.#find(uri);
  }

  #failing(kind: Change): void {
    const error = this.fail.get(kind);
    this.fail.delete(kind);
    if (error !== undefined) throw error;
  }

  #find(uri: string): KekDescription {
    const found = this.keks.get(uri);
    if (found === undefined) throw new DekdError('KEY_NOT_FOUND', `there is no KEK ${uri}`);
    return found;
  }
}

/** The newest one retires, and the next number follows. */
export function rotated({ versions }: KekDescription): KekDescription['versions'] {
  const retired = versions.map((one) => ({ ...one, state: 'decrypt-only' as const }));
  return [...retired, version(versions.length + 1)];
}

function version(number: number): KekDescription['versions'][number] {
  return { version: String(number), state: 'active', createdAt: number };
}
