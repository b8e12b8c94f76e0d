import type { SlotHandle } from '../../native/binding.d.ts';
import { type BlockRecipient, verifyDekBlock } from '../crypto/dek-block.ts';
import { freeKey } from '../crypto/native.ts';
import { DekdError } from '../errors.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import { RECIPIENT_TYPES, type WrapContext } from '../upstream/provider.ts';
import type { Counters } from './counters.ts';
import type { DekRecipient } from './dek.ts';
import type { Kek } from './kek.ts';
import type { KeyOptions } from './options.ts';

/** A DEK could not be wrapped; says which KEK failed, so that a refusal can be followed up. */
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

/** Wraps a DEK for every recipient of its key, in their order. Throws WrapFailure for the first that does not answer or refuses. */
export async function wrapDek(
  dek: SlotHandle,
  context: WrapContext,
  { recipients }: KeyOptions,
  counters: Counters,
  signal: AbortSignal,
): Promise<BlockRecipient[]> {
  const copies: BlockRecipient[] = [];
  for (const { kek } of recipients) {
    counters.wraps++;
    const wrapped = await failing(kek, counters, () => kek.wrap(dek, context, signal));
    copies.push({
      type: RECIPIENT_TYPES[kek.upstream.type],
      wrapAlgorithm: wrapped.algorithm,
      kekUri: kek.uri,
      kekVersion: wrapped.kekVersion,
      wrapped: Buffer.from(wrapped.bytes),
    });
  }
  return copies;
}

/** A DEK that was wrapped, before anybody depends on it. */
export interface WrappedOnce {
  readonly dekId: Buffer;
  readonly block: Buffer;
  readonly context: WrapContext;
  /** Authorities and standbys of the block. */
  readonly recipients: readonly DekRecipient[];
}

/** Has every authority and standby unwrap it once: a bad wrap must not be found on failover day. Throws WrapFailure. */
export async function verifyWraps(wrapped: WrappedOnce, counters: Counters, signal: AbortSignal): Promise<void> {
  for (const { kek, wrapped: copy } of wrapped.recipients) {
    counters.unwraps++;
    const handle = await failing(kek, counters, () => kek.unwrap(copy, wrapped.context, signal));
    try {
      if (verifyDekBlock(handle, wrapped.dekId, wrapped.block)) continue;
    } finally {
      freeKey(handle);
    }
    throw new WrapFailure(kek, new UpstreamFailure('invalid', 'the upstream unwrapped another key than it wrapped'));
  }
}

/** Whether the key's wraps are verified: not where it has no right to unwrap. */
export function verifiesWraps({ cache }: KeyOptions): boolean {
  return cache.verifyWrap && cache.refresh === 'verify';
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
