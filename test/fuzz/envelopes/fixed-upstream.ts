import { createHash } from 'node:crypto';
import { type SlotHandle, unwrapKey, wrapKey } from '../../../src/crypto/native.ts';
import { UpstreamFailure } from '../../../src/upstream/failure.ts';
import type { KekDescription, Upstream, WrapContext, WrappedDek } from '../../../src/upstream/provider.ts';
import { loadKey } from '../../native/load-key.ts';

const VERSION = '1';
const XAES = 1;
const WRAP_ALGORITHM = 6;

/** An upstream that really wraps, under KEKs that are the same in every run: what the corpus holds opens for ever. */
export class FixedUpstream implements Upstream {
  readonly type = 'local';
  readonly warnings: readonly string[] = [];
  readonly #keks = new Map<string, SlotHandle>();

  resolve(reference: string): string {
    return reference;
  }

  async wrap(kek: string, dek: SlotHandle, context: WrapContext): Promise<WrappedDek> {
    const bytes = wrapKey(this.#key(kek), XAES, dek, context.encoded);
    return { kekVersion: VERSION, algorithm: WRAP_ALGORITHM, bytes };
  }

  async unwrap(kek: string, wrapped: WrappedDek, context: WrapContext): Promise<SlotHandle> {
    if (wrapped.kekVersion !== VERSION) {
      throw new UpstreamFailure('refused', 'no such version', { scope: 'version', condition: 'missing' });
    }
    try {
      return unwrapKey(this.#key(kek), XAES, wrapped.bytes, context.encoded, 'dek');
    } catch (thrown) {
      throw new UpstreamFailure('invalid', 'the wrapped DEK does not open', { cause: thrown });
    }
  }

  async describe(kek: string): Promise<KekDescription> {
    return {
      uri: kek,
      state: 'active',
      versions: [{ version: VERSION, state: 'active', createdAt: 0 }],
      labels: new Map(),
    };
  }

  async close(): Promise<void> {}

  #key(kek: string): SlotHandle {
    const known = this.#keks.get(kek) ?? loadKey(createHash('sha256').update(`fuzz ${kek}`).digest(), 'raw');
    this.#keks.set(kek, known);
    return known;
  }
}
