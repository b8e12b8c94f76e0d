import { actor, authorizeChange, type ChangeRequest } from './admin-request.ts';
import type { Call } from './call.ts';
import { keyState } from './key-state.ts';
import type { Parts } from './parts.ts';
import { duration, durationMs, timestamp, type WireDuration } from './time.ts';

interface ScheduleKeyDeletionRequest extends ChangeRequest {
  waiting_period: WireDuration | null;
}

const DAY_MS = 86_400_000;
const DEFAULT_WAITING_MS = 30 * DAY_MS;

export async function disableKey(request: ChangeRequest, call: Call, parts: Parts): Promise<object> {
  const target = authorizeChange('DisableKey', request, call, parts);
  const purgedBefore = target.keyring.counters.purged;
  await parts.administration.changeKey(target, 'disable', actor(call));
  return { state: keyState(target.keyring), purged_deks: String(target.keyring.counters.purged - purgedBefore) };
}

export async function enableKey(request: ChangeRequest, call: Call, parts: Parts): Promise<object> {
  const target = authorizeChange('EnableKey', request, call, parts);
  await parts.administration.changeKey(target, 'enable', actor(call));
  return { state: keyState(target.keyring) };
}

export async function archiveKey(request: ChangeRequest, call: Call, parts: Parts): Promise<object> {
  const target = authorizeChange('ArchiveKey', request, call, parts);
  await parts.administration.changeKey(target, 'archive', actor(call));
  return { state: keyState(target.keyring) };
}

export async function scheduleKeyDeletion(
  request: ScheduleKeyDeletionRequest,
  call: Call,
  parts: Parts,
): Promise<object> {
  const target = authorizeChange('ScheduleKeyDeletion', request, call, parts);
  const waitingMs = request.waiting_period === null ? DEFAULT_WAITING_MS : durationMs(request.waiting_period);
  const { administration } = parts;
  const { at, requestedBy, waitingPeriodMs } = await administration.scheduleDeletion(target, waitingMs, actor(call));
  return {
    state: keyState(target.keyring),
    in_effect: at !== undefined,
    deletion_at: at === undefined ? undefined : timestamp(at),
    requested_by: requestedBy,
    custodians_needed: administration.custodians,
    waiting_period: duration(waitingPeriodMs),
  };
}

export async function cancelKeyDeletion(request: ChangeRequest, call: Call, parts: Parts): Promise<object> {
  const target = authorizeChange('CancelKeyDeletion', request, call, parts);
  await parts.administration.cancelDeletion(target, actor(call));
  return { state: keyState(target.keyring) };
}
