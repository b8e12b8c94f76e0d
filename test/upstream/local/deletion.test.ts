import test from 'ava';
import {
  checkDeletionRequest,
  deletionCancelled,
  deletionRequested,
  isLapsed,
  requestLapsed,
  stateBefore,
} from '../../../src/upstream/local/deletion.ts';
import { kekRecord } from './fixture.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NOW = 1_790_000_000_000;

function asks(by: string, days = 30, custodians = 2) {
  return { by, waitingPeriodMs: days * DAY_MS, custodians };
}

test('a waiting period has 7 to 30 days', (t) => {
  for (const days of [7, 8.5, 30]) t.notThrows(() => checkDeletionRequest(asks('uid 1', days)));
  for (const days of [0, 6.999, 30.001, 31, -7, Number.NaN, Number.POSITIVE_INFINITY]) {
    t.throws(() => checkDeletionRequest(asks('uid 1', days)), {
      name: 'DekdError',
      message: /^waiting_period: is \S+(s| days?), 7 to 30 days are allowed$/,
    });
  }
  t.throws(() => checkDeletionRequest({ ...asks('uid 1'), waitingPeriodMs: 7 * DAY_MS + 0.5 }), { name: 'DekdError' });
  t.throws(() => checkDeletionRequest(asks('')), { message: /internal error/ });
  t.throws(() => checkDeletionRequest(asks('uid 1', 30, 0)), { message: /internal error/ });
});

test('the first custodian only asks, the second one decides', (t) => {
  const record = kekRecord('orders');
  const asked = deletionRequested(record, asks('uid 1'), NOW);
  t.like(asked, { state: 'active', changedAt: 1, changedBy: 'uid 2001' }, 'the state did not change');
  const request = { requestedBy: ['uid 1'], waitingPeriodMs: 30 * DAY_MS, requestedAt: NOW };
  t.deepEqual(asked.deletion, { ...request, at: null });
  t.is(deletionRequested(asked, asks('uid 1'), NOW + 1), asked, 'the same custodian changes nothing');

  const later = NOW + 23 * HOUR_MS;
  const pending = deletionRequested(asked, asks('uid 2'), later);
  t.is(pending.state, 'pending-deletion');
  t.is(pending.stateBefore, 'active');
  t.is(pending.changedBy, 'uid 2');
  t.is(pending.changedAt, later);
  t.deepEqual(pending.deletion, { ...request, requestedBy: ['uid 1', 'uid 2'], at: later + 30 * DAY_MS });
  t.is(deletionRequested(pending, asks('uid 3'), later + 1), pending, 'a third one changes nothing');
});

test('one custodian decides where one is enough', (t) => {
  const pending = deletionRequested(kekRecord('orders'), asks('uid 1', 7, 1), NOW);
  t.is(pending.state, 'pending-deletion');
  t.is(pending.deletion?.at, NOW + 7 * DAY_MS);
  // A request of a time when two were needed.
  const asked = deletionRequested(kekRecord('orders'), asks('uid 1', 7, 2), NOW);
  t.is(deletionRequested(asked, asks('uid 1', 7, 1), NOW + 1).state, 'pending-deletion');
});

test('another waiting period is refused and names what the first one asked for', (t) => {
  const asked = deletionRequested(kekRecord('orders'), asks('uid 1', 30), NOW);
  for (const by of ['uid 1', 'uid 2']) {
    const error = t.throws(() => deletionRequested(asked, asks(by, 7), NOW + 1), { name: 'DekdError' });
    t.is((error as unknown as { reason: string }).reason, 'INVALID_REQUEST');
    t.is(
      error?.message,
      'waiting_period: is 7 days, but uid 1 asked to delete KEK orders after 30 days; ask for the same, or cancel that deletion first',
    );
  }
  const pending = deletionRequested(asked, asks('uid 2', 30), NOW + 1);
  t.throws(() => deletionRequested(pending, asks('uid 2', 7), NOW + 2), { message: /uid 1 and uid 2 asked/ });
});

test('a request lapses after 24 hours and is then as if nobody had asked', (t) => {
  const asked = deletionRequested(kekRecord('orders'), asks('uid 1', 30), NOW);
  t.false(isLapsed(asked.deletion, NOW + DAY_MS - 1));
  t.is(requestLapsed(asked, NOW + DAY_MS - 1), undefined);
  t.true(isLapsed(asked.deletion, NOW + DAY_MS));
  const again = deletionRequested(asked, asks('uid 2', 7), NOW + DAY_MS);
  t.is(again.state, 'active');
  t.deepEqual(again.deletion?.requestedBy, ['uid 2']);
  t.is(again.deletion?.requestedAt, NOW + DAY_MS);
  const lapsed = requestLapsed(asked, NOW + DAY_MS);
  t.is(lapsed?.deletion, null);
  t.like(lapsed, { changedAt: 1, changedBy: 'uid 2001' }, 'the state did not change');
  t.is(requestLapsed(kekRecord('orders'), NOW), undefined);

  const pending = deletionRequested(asked, asks('uid 2', 30), NOW + 1);
  t.false(isLapsed(pending.deletion, NOW + 29 * DAY_MS), 'what took effect does not lapse');
  t.is(requestLapsed(pending, NOW + 29 * DAY_MS), undefined);
});

test('cancelling withdraws a request, and ends a waiting in disabled', (t) => {
  const record = kekRecord('orders', { state: 'archived' });
  t.is(deletionCancelled(record, 'uid 3', NOW), record);
  const asked = deletionRequested(record, asks('uid 1'), NOW);
  const withdrawn = deletionCancelled(asked, 'uid 3', NOW + 1);
  t.like(withdrawn, { state: 'archived', stateBefore: null, deletion: null, changedBy: 'uid 2001', changedAt: 1 });
  const pending = deletionRequested(asked, asks('uid 2'), NOW + 1);
  t.like(deletionCancelled(pending, 'uid 3', NOW + 2), {
    state: 'disabled',
    stateBefore: 'archived',
    deletion: null,
    changedAt: NOW + 2,
    changedBy: 'uid 3',
  });
  const destroyed = kekRecord('orders', { state: 'destroyed' });
  t.throws(() => deletionCancelled(destroyed, 'uid 3', NOW), { message: /destroyed → disabled is not allowed/ });
  t.throws(() => deletionRequested(destroyed, asks('uid 1'), NOW), {
    message: /destroyed → pending-deletion is not allowed/,
  });
});

test('the state to come back to is kept through disabling and deletion', (t) => {
  t.is(stateBefore(kekRecord('orders')), 'active');
  t.is(stateBefore(kekRecord('orders', { state: 'archived' })), 'archived');
  const disabled = kekRecord('orders', { state: 'disabled', stateBefore: 'archived' });
  t.is(stateBefore(disabled), 'archived');
  t.is(deletionRequested(disabled, asks('uid 1', 7, 1), NOW).stateBefore, 'archived');
});

test('a waiting period that is not allowed is shown as it was asked for', (t) => {
  const shown = (waitingPeriodMs: number): string => {
    const { message } = t.throws(() => checkDeletionRequest({ by: 'uid 1', waitingPeriodMs, custodians: 2 }));
    return /is (.*), 7 to 30/.exec(message)?.[1] ?? message;
  };
  t.is(shown(-1_000), '-1s');
  t.is(shown(7 * DAY_MS - 1), '604799.999s');
  t.is(shown(DAY_MS), '1 day');
  t.is(shown(31 * DAY_MS), '31 days');
});
