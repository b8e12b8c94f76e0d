import { actor, authorizeChange } from './admin-request.ts';
import type { Call } from './call.ts';
import { keyState } from './key-state.ts';
import type { Parts } from './parts.ts';
import { duration, durationMs, timestamp, type WireDuration } from './time.ts';

interface KeyRequest {
  key: string;
}

interface ScheduleKeyDeletionRequest extends KeyRequest {
  waiting_period: WireDuration | null;
}

const DAY_MS = 86_400_000;
const DEFAULT_WAITING_MS = 30 * DAY_MS;

export async function disableKey({ key }: KeyRequest, call: Call, parts: Parts): Promise<object> {
  const keyring = authorizeChange('DisableKey', key, call, parts);
  const purgedBefore = keyring.counters.purged;
  await parts.administration.changeKey(keyring, 'disable', actor(call));
  return { state: keyState(keyring), purged_deks: String(keyring.counters.purged - purgedBefore) };
}

export async function enableKey({ key }: KeyRequest, call: Call, parts: Parts): Promise<object> {
  const keyring = authorizeChange('EnableKey', key, call, parts);
  await parts.administration.changeKey(keyring, 'enable', actor(call));
  return { state: keyState(keyring) };
}

export async function archiveKey({ key }: KeyRequest, call: Call, parts: Parts): Promise<object> {
  const keyring = authorizeChange('ArchiveKey', key, call, parts);
  await parts.administration.changeKey(keyring, 'archive', actor(call));
  return { state: keyState(keyring) };
}

export async function scheduleKeyDeletion(
  request: ScheduleKeyDeletionRequest,
  call: Call,
  parts: Parts,
): Promise<object> {
  const keyring = authorizeChange('ScheduleKeyDeletion', request.key, call, parts);
  const waitingMs = request.waiting_period === null ? DEFAULT_WAITING_MS : durationMs(request.waiting_period);
  const { administration } = parts;
  const { at, requestedBy, waitingPeriodMs } = await administration.scheduleDeletion(keyring, waitingMs, actor(call));
  return {
    state: keyState(keyring),
    in_effect: at !== undefined,
    deletion_at: at === undefined ? undefined : timestamp(at),
    requested_by: requestedBy,
    custodians_needed: administration.custodians,
    waiting_period: duration(waitingPeriodMs),
  };
}

export async function cancelKeyDeletion({ key }: KeyRequest, call: Call, parts: Parts): Promise<object> {
  const keyring = authorizeChange('CancelKeyDeletion', key, call, parts);
  await parts.administration.cancelDeletion(keyring, actor(call));
  return { state: keyState(keyring) };
}
