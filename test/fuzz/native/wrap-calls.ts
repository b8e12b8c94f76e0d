import { dekId, type SlotHandle } from '../../../src/crypto/native.ts';
import { type Case, type EntryPoint, expectBytes, expectEqual } from './case.ts';
import { oddView } from './hostile.ts';
import type { Key, Model, Wrapped } from './model.ts';
import { NONCE_BYTES, openElsewhere, TAG_BYTES } from './reference.ts';

/** Entry points that wrap keys under keys. */
export const WRAP_CALLS: Readonly<Record<string, EntryPoint>> = {
  wrapKey: { make: wrapKey },
  unwrapKey: { make: unwrapKey },
};

function wrapKey(model: Model): Case | undefined {
  const kek = model.kek();
  const key = model.key(({ length }) => length === 32);
  if (kek === undefined || key === undefined) return undefined;
  const suite = 1 + model.random.below(2);
  const aad = model.view(model.random.below(200));
  return {
    args: [kek.handle, suite, key.handle, oddView(aad, model)],
    roles: ['kek', 'suite', 'key32', 'bytes'],
    check: (wrapped: Buffer) => {
      expectEqual(wrapped.length, NONCE_BYTES[suite]! + 32 + TAG_BYTES, 'length of a wrapped key');
      checkElsewhere(kek, key, suite, aad, wrapped);
      model.rememberWrapped({
        kek,
        suite,
        aad: Buffer.from(aad),
        wrapped: Buffer.from(wrapped),
        bytes: key.bytes,
        dekId: key.kind === 'dek' ? dekId(key.handle) : undefined,
      });
    },
  };
}

function checkElsewhere(kek: Key, key: Key, suite: number, aad: Buffer, wrapped: Buffer): void {
  if (kek.bytes === undefined) return;
  const bytes = openElsewhere(suite, kek.bytes, aad, wrapped);
  if (key.bytes !== undefined) expectBytes(bytes, key.bytes, 'wrapped bytes');
}

function unwrapKey(model: Model): Case | undefined {
  if (model.wrapped.length === 0) return undefined;
  const { random } = model;
  const { kek, suite, aad, wrapped, bytes, dekId: id } = random.pick<Wrapped>(model.wrapped);
  const kind = random.chance(2, 3) ? 'dek' : 'raw';
  const altered = random.chance(1, 3) ? alter(wrapped, model) : undefined;
  return {
    args: [kek.handle, suite, oddView(altered ?? wrapped, model), aad, kind],
    roles: ['kek', 'suite', 'bytes', 'bytes', 'kind'],
    fails: altered === undefined ? undefined : 'ERR_AUTHENTICATION',
    makes: kind,
    check: (handle: SlotHandle) => {
      model.add(handle, kind, 32, bytes);
      if (kind === 'dek' && id !== undefined) expectBytes(dekId(handle), id, 'dek_id of a wrapped key');
    },
  };
}

function alter(wrapped: Buffer, model: Model): Buffer {
  const { random } = model;
  if (random.chance(1, 3)) return wrapped.subarray(0, random.below(wrapped.length));
  if (random.chance(1, 3)) return Buffer.concat([wrapped, Buffer.of(0)]);
  const altered = Buffer.from(wrapped);
  altered[random.below(altered.length)]! ^= 1 << random.below(8);
  return altered;
}
