import type { EncryptionContext } from '../crypto/context.ts';
import { createKey, dekId, freeKey, type SlotHandle } from '../crypto/native.ts';
import { fromNative } from '../crypto/native-errors.ts';
import type { Clock } from './clock.ts';
import { Dek } from './dek.ts';
import type { Kek } from './kek.ts';
import { type Wrapping, wrapDek } from './wrap-dek.ts';

/** A new DEK, and the KEKs that it should be wrapped for and is not. */
export interface CreatedDek {
  readonly dek: Dek;
  readonly missing: readonly Kek[];
}

/** Makes a DEK and wraps it for its key's recipients. Throws WrapFailure, or DekdError SECRET_MEMORY_EXHAUSTED. */
export async function createDek(partition: EncryptionContext, clock: Clock, wrapping: Wrapping): Promise<CreatedDek> {
  const { options, counters } = wrapping;
  const startedAtMs = clock.bootMs();
  const handle = newDekKey();
  try {
    const facts = { createdMs: clock.wallMs(), generation: 0, keyName: options.name, partition: new Map(partition) };
    const { block, missing } = await wrapDek(handle, facts, wrapping);
    const dek = new Dek(handle, dekId(handle), block, options, counters, startedAtMs);
    counters.deks_created++;
    counters.recipients_missing += missing.length;
    return { dek, missing };
  } catch (thrown) {
    freeKey(handle);
    throw thrown;
  }
}

function newDekKey(): SlotHandle {
  try {
    return createKey('dek');
  } catch (thrown) {
    throw fromNative(thrown);
  }
}
