import { createRequire } from 'node:module';
import { join } from 'node:path';

type Binding = typeof import('../../../native/binding.d.ts');

/** Calls into the addon since the thread began. */
export interface NativeCalls {
  /** blockVerify: a dek-block's MAC was computed and compared. */
  mac: number;
  /** open and openAsync: an AEAD tag of a payload was computed and compared. */
  aead: number;
  /** unwrapKey: the upstream's AEAD. */
  unwrap: number;
}

/**
 * Puts counting functions before the addon's, for this thread. Before src/crypto/native.ts is first imported: it takes what stands in the
 * module cache.
 */
export function countNativeCalls(): NativeCalls {
  const path = join(import.meta.dirname, '..', '..', '..', 'native', 'build', 'dekd.node');
  const require = createRequire(import.meta.url);
  const binding = require(path) as Binding;
  const calls: NativeCalls = { mac: 0, aead: 0, unwrap: 0 };
  const counted: Partial<Binding> = {
    blockVerify: (handle, id, block) => {
      calls.mac++;
      return binding.blockVerify(handle, id, block);
    },
    open: (handle, use, suite, aad, aadLength, sealed, offset, out) => {
      calls.aead++;
      return binding.open(handle, use, suite, aad, aadLength, sealed, offset, out);
    },
    openAsync: (handle, use, suite, aad, aadLength, sealed, offset) => {
      calls.aead++;
      return binding.openAsync(handle, use, suite, aad, aadLength, sealed, offset);
    },
    unwrapKey: (kek, suite, wrapped, aad, kind) => {
      calls.unwrap++;
      return binding.unwrapKey(kek, suite, wrapped, aad, kind);
    },
  };
  const module = require.cache[require.resolve(path)];
  if (module === undefined) throw new Error('the addon is not in the module cache');
  module.exports = { ...binding, ...counted };
  return calls;
}
