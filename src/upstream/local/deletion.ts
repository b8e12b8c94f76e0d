import { invalidField } from '../../errors.ts';
import type { DeletionRequest } from '../provider.ts';
import type { DeletionRecord, KekRecord } from './records.ts';
import { stateAfter } from './transitions.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const MIN_WAITING_DAYS = 7;
const MAX_WAITING_DAYS = 30;
/** How long a request waits for the other custodians. */
const REQUEST_LIFETIME_MS = DAY_MS;

/** Throws DekdError INVALID_REQUEST for a waiting period that is not 7 to 30 days. */
export function checkDeletionRequest({ by, waitingPeriodMs, custodians }: DeletionRequest): void {
  const days = waitingPeriodMs / DAY_MS;
  if (!(Number.isSafeInteger(waitingPeriodMs) && days >= MIN_WAITING_DAYS && days <= MAX_WAITING_DAYS)) {
    throw invalidField(
      'waiting_period',
      `is ${periodText(waitingPeriodMs)}, ${MIN_WAITING_DAYS} to ${MAX_WAITING_DAYS} days are allowed`,
    );
  }
  if (by === '' || !(Number.isSafeInteger(custodians) && custodians >= 1)) {
    throw new Error('internal error: a deletion needs somebody who asks, and at least one custodian');
  }
}

/**
 * The record once `request` was made: with one custodian more, and pending deletion once they are enough; the same record when nothing
 * changes. Throws DekdError for a KEK that is destroyed and for another waiting period than the others asked for.
 */
export function deletionRequested(record: KekRecord, request: DeletionRequest, now: number): KekRecord {
  const state = stateAfter(record, 'delete');
  const asked = isLapsed(record.deletion, now) ? null : record.deletion;
  if (asked !== null && asked.waitingPeriodMs !== request.waitingPeriodMs)
    throw otherPeriod(record.name, asked, request);
  if (record.state === state) return record;
  const requestedBy = [...new Set([...(asked?.requestedBy ?? []), request.by])];
  const isEnough = requestedBy.length >= request.custodians;
  if (!isEnough && requestedBy.length === asked?.requestedBy.length) return record;
  const deletion = {
    requestedBy,
    waitingPeriodMs: request.waitingPeriodMs,
    requestedAt: asked?.requestedAt ?? now,
    at: isEnough ? now + request.waitingPeriodMs : null,
  };
  if (!isEnough) return { ...record, deletion };
  return { ...record, state, stateBefore: stateBefore(record), deletion, changedAt: now, changedBy: request.by };
}

/** The record without its deletion, in effect or only asked for; the same record when there is none. Throws DekdError for a KEK that is destroyed. */
export function deletionCancelled(record: KekRecord, by: string, now: number): KekRecord {
  const state = stateAfter(record, 'cancel');
  if (record.deletion === null) return record;
  if (state === record.state) return { ...record, deletion: null };
  return { ...record, state, deletion: null, changedAt: now, changedBy: by };
}

/** The record without a request that too few custodians joined in time; undefined when there is none. */
export function requestLapsed(record: KekRecord, now: number): KekRecord | undefined {
  if (record.deletion === null || !isLapsed(record.deletion, now)) return undefined;
  return { ...record, deletion: null };
}

/** Whether it is only a request, and too old to be joined. */
export function isLapsed(deletion: DeletionRecord | null, now: number): boolean {
  return deletion !== null && deletion.at === null && now - deletion.requestedAt >= REQUEST_LIFETIME_MS;
}

/** Where `enable` leads to once the KEK is disabled or pending deletion. */
export function stateBefore({ state, stateBefore: before }: KekRecord): 'active' | 'archived' {
  return state === 'active' || state === 'archived' ? state : (before ?? 'active');
}

function otherPeriod(name: string, asked: DeletionRecord, request: DeletionRequest): Error {
  return invalidField(
    'waiting_period',
    `is ${periodText(request.waitingPeriodMs)}, but ${asked.requestedBy.join(' and ')} asked to delete KEK ${name} ` +
      `after ${periodText(asked.waitingPeriodMs)}; ask for the same, or cancel that deletion first`,
  );
}

/** Days where they are whole, else as the request has it: in seconds. */
function periodText(ms: number): string {
  const days = ms / DAY_MS;
  if (!Number.isSafeInteger(days)) return `${ms / 1000}s`;
  return `${days} ${days === 1 ? 'day' : 'days'}`;
}
