import type { EncryptionContext } from '../crypto/context.ts';
import { sealDekBlock, wrapContext } from '../crypto/dek-block.ts';
import { createKey, dekId, freeKey, type SlotHandle } from '../crypto/native.ts';
import { fromNative } from '../crypto/native-errors.ts';
import type { Clock } from './clock.ts';
import type { Counters } from './counters.ts';
import { Dek } from './dek.ts';
import type { KeyOptions } from './options.ts';
import { verifiesWraps, verifyWraps, wrapDek } from './wrap-dek.ts';

/**
 * Makes a DEK, wraps it for every recipient and, with `verifyWrap`, has every authority and standby unwrap it once.
 * Throws WrapFailure, or DekdError SECRET_MEMORY_EXHAUSTED.
 */
export async function createDek(
  options: KeyOptions,
  partition: EncryptionContext,
  clock: Clock,
  counters: Counters,
  signal: AbortSignal,
): Promise<Dek> {
  const startedAtMs = clock.bootMs();
  const handle = newDekKey();
  try {
    const id = dekId(handle);
    const context = wrapContext(options.name, id, partition);
    const recipients = await wrapDek(handle, context, options, counters, signal);
    const block = sealDekBlock(
      { createdMs: clock.wallMs(), generation: 0, keyName: options.name, partition: new Map(partition), recipients },
      handle,
    );
    const dek = new Dek(handle, id, block, options, counters, startedAtMs);
    if (verifiesWraps(options)) {
      await verifyWraps({ dekId: id, block, context, recipients: dek.recipients }, counters, signal);
    }
    counters.deks_created++;
    return dek;
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
