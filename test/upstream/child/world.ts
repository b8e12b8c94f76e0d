import { existsSync, readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { createKey, dekId, freeKey, openArena, type SlotHandle } from '../../../src/crypto/native.ts';
import { ChildUpstream } from '../../../src/upstream/child/child-upstream.ts';
import type { WrapContext, WrappedDek } from '../../../src/upstream/provider.ts';
import { live, wrapContext } from '../../contract/upstream-context.ts';
import { kekNamed, type SoftwareKmsOptions, softwareKms } from './software-kms/options.ts';

export const CONTEXT: WrapContext = wrapContext({ 'dekd:key': 'orders', tenant: 'acme' });

/** Of no DEK: for KEKs whose calls go wrong before it is looked at. */
export const ANY_WRAPPED: WrappedDek = { kekVersion: '1', algorithm: 5, bytes: Buffer.alloc(60) };

/** An upstream on the software KMS, with children of its own. */
export class World {
  readonly warnings: string[] = [];
  readonly #t: ExecutionContext;
  #upstream: ChildUpstream<SoftwareKmsOptions> | undefined;

  static async open(t: ExecutionContext, options: Partial<SoftwareKmsOptions> = {}): Promise<World> {
    openArena({ size: 1 << 20, lock: 'best-effort' });
    const world = new World(t);
    world.#upstream = await ChildUpstream.open({
      facts: softwareKms,
      options: { type: 'vault-transit', ...options },
      onWarning: (warning) => world.warnings.push(warning),
    });
    t.teardown(() => world.upstream.close());
    return world;
  }

  private constructor(t: ExecutionContext) {
    this.#t = t;
  }

  get upstream(): ChildUpstream<SoftwareKmsOptions> {
    return this.#upstream!;
  }

  dek(): SlotHandle {
    const dek = createKey('dek');
    this.#t.teardown(() => freeKey(dek));
    return dek;
  }

  wrap(dek: SlotHandle, name = 'orders'): Promise<WrappedDek> {
    return this.upstream.wrap(kekNamed(name), dek, CONTEXT, live());
  }

  /** Its dek_id; the DEK itself is freed. */
  async unwrap(wrapped: WrappedDek, name = 'orders', signal = live().signal): Promise<Buffer> {
    const dek = await this.upstream.unwrap(kekNamed(name), wrapped, CONTEXT, { signal });
    const id = dekId(dek);
    freeKey(dek);
    return id;
  }

  /** One call that works: from then on the child counts as used. */
  async use(): Promise<void> {
    await this.wrap(this.dek());
  }
}

/** Until `isSo`, or until it is too late. */
export async function until(isSo: () => boolean, patienceMs = 5_000): Promise<boolean> {
  for (const end = performance.now() + patienceMs; !isSo(); ) {
    if (performance.now() > end) return false;
    await setTimeout(5);
  }
  return true;
}

export function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}
