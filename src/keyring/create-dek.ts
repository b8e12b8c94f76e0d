import type { EncryptionContext } from '../crypto/context.ts';
import { type BlockRecipient, sealDekBlock, verifyDekBlock, wrapContext } from '../crypto/dek-block.ts';
import { createKey, dekId, freeKey, type SlotHandle } from '../crypto/native.ts';
import { fromNative } from '../crypto/native-errors.ts';
import { DekdError } from '../errors.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import { RECIPIENT_TYPES } from '../upstream/provider.ts';
import type { Clock } from './clock.ts';
import type { Counters } from './counters.ts';
import { Dek } from './dek.ts';
import type { Kek } from './kek.ts';
import type { KeyOptions } from './options.ts';

/** A new DEK could not be wrapped; says which KEK failed, so that a refusal can be followed up. */
export class WrapFailure extends Error {
  override readonly name = 'WrapFailure';
  readonly kek: Kek;
  readonly failure: UpstreamFailure;

  constructor(kek: Kek, failure: UpstreamFailure) {
    super(failure.message, { cause: failure });
    this.kek = kek;
    this.failure = failure;
  }
}

/**
 * Makes a DEK, wraps it for every recipient and, with `verifyWrap`, has every authority and standby unwrap it once: a bad wrap must not be
 * found on failover day. Throws WrapFailure, or DekdError SECRET_MEMORY_EXHAUSTED.
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
    const recipients: BlockRecipient[] = [];
    for (const { kek } of options.recipients) {
      counters.wraps++;
      const wrapped = await failing(kek, counters, () => kek.wrap(handle, context, signal));
      recipients.push({
        type: RECIPIENT_TYPES[kek.upstream.type],
        wrapAlgorithm: wrapped.algorithm,
        kekUri: kek.uri,
        kekVersion: wrapped.kekVersion,
        wrapped: Buffer.from(wrapped.bytes),
      });
    }
    const block = sealDekBlock(
      { createdMs: clock.wallMs(), generation: 0, keyName: options.name, partition: new Map(partition), recipients },
      handle,
    );
    const dek = new Dek(handle, id, block, options, counters, startedAtMs);
    if (options.cache.verifyWrap && options.cache.refresh === 'verify') await verifyWraps(dek, counters, signal);
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

async function verifyWraps(dek: Dek, counters: Counters, signal: AbortSignal): Promise<void> {
  for (const { kek, wrapped } of dek.recipients) {
    counters.unwraps++;
    const copy = await failing(kek, counters, () => kek.unwrap(wrapped, dek.wrapContext, signal));
    try {
      if (verifyDekBlock(copy, dek.id, dek.block)) continue;
    } finally {
      freeKey(copy);
    }
    throw new WrapFailure(kek, new UpstreamFailure('invalid', 'the upstream unwrapped another key than it wrapped'));
  }
}

async function failing<T>(kek: Kek, counters: Counters, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (thrown) {
    if (thrown instanceof DekdError) throw thrown;
    counters.upstream_failures++;
    throw new WrapFailure(kek, UpstreamFailure.from(thrown));
  }
}
