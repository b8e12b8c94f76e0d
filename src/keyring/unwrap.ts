import type { SlotHandle } from '../../native/binding.d.ts';
import { verifyDekBlock } from '../crypto/dek-block.ts';
import { freeKey } from '../crypto/native.ts';
import { DekdError } from '../errors.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import type { CallPurpose, WrapContext } from '../upstream/provider.ts';
import type { Counters } from './counters.ts';
import type { DekRecipient } from './dek.ts';
import type { Payer } from './single-flight.ts';

export type UnwrapOutcome =
  | { readonly kind: 'opened'; readonly handle: SlotHandle; readonly by: DekRecipient }
  | { readonly kind: 'refused'; readonly failure: UpstreamFailure; readonly by: DekRecipient }
  | { readonly kind: 'unavailable'; readonly failure: UpstreamFailure }
  | { readonly kind: 'invalid' };

export interface Unwrapping {
  /** In the order in which they are asked: authorities first. */
  readonly recipients: readonly DekRecipient[];
  readonly dekId: Buffer;
  readonly block: Buffer;
  readonly context: WrapContext;
  readonly counters: Counters;
  readonly signal: AbortSignal;
  /** It confirms a refusal. */
  readonly fresh?: boolean;
  /** Default `miss`. */
  readonly purpose?: CallPurpose;
  /** Whose miss it is. */
  readonly payer?: Payer | undefined;
}

/**
 * Asks the recipients in order until one opens the DEK. The next one follows only where there was no answer, or where the answer says
 * that this wrapped copy is not the DEK; never after a refusal. What opens is verified (dek_id and MAC, in native code) before anybody sees it.
 */
export async function unwrap(task: Unwrapping): Promise<UnwrapOutcome> {
  let unanswered: UpstreamFailure | undefined;
  let authorityAnswered = false;
  for (const recipient of task.recipients) {
    if (task.signal.aborted) {
      unanswered ??= new UpstreamFailure('unreachable', 'no answer in time');
      break;
    }
    const result = await attempt(recipient, task);
    if (!(result instanceof UpstreamFailure)) return { kind: 'opened', handle: result, by: recipient };
    // A standby's refusal counts only while no authority answers; else it merely drops the standby.
    const counts = recipient.role === 'authority' || !authorityAnswered;
    if (result.class === 'refused' && counts) return { kind: 'refused', failure: result, by: recipient };
    if (result.class === 'invalid') authorityAnswered ||= recipient.role === 'authority';
    else if (result.class !== 'refused') unanswered ??= result;
  }
  return unanswered === undefined ? { kind: 'invalid' } : { kind: 'unavailable', failure: unanswered };
}

async function attempt(recipient: DekRecipient, task: Unwrapping): Promise<SlotHandle | UpstreamFailure> {
  const { kek, wrapped } = recipient;
  const { context, counters, signal, fresh = false, purpose = 'miss', payer } = task;
  const { broken } = kek;
  if (broken !== undefined) return broken;
  const onAsked = (): void => void counters.unwraps++;
  try {
    const handle = await kek.unwrap(wrapped, context, signal, { fresh, purpose, payer: payer?.uid, onAsked });
    if (isDek(handle, task)) return handle;
    freeKey(handle);
    return new UpstreamFailure('invalid', 'the unwrapped key is not the DEK that the block names');
  } catch (thrown) {
    // Our own shortage (no slot is left) says nothing about the upstream.
    if (thrown instanceof DekdError) throw thrown;
    const failure = UpstreamFailure.from(thrown);
    if (failure.class !== 'invalid') counters.upstream_failures++;
    return failure;
  }
}

function isDek(handle: SlotHandle, { dekId, block }: Unwrapping): boolean {
  try {
    return verifyDekBlock(handle, dekId, block);
  } catch (thrown) {
    freeKey(handle);
    throw thrown;
  }
}
