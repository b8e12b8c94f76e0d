import test from 'ava';
import { between, healthText, kekText, missingText, servingText } from '../../../src/cli/commands/serving-text.ts';

const at = (seconds: number) => ({ seconds, nanos: 0 });

test('spans as people say them, cut', (t) => {
  const spans: [number, string][] = [
    [0, '0s'],
    [119.9, '119s'],
    [120, '2m'],
    [7_199, '119m'],
    [7_260, '2h 1m'],
    [172_799, '47h 59m'],
    [176_400, '2d 1h'],
  ];
  for (const [seconds, text] of spans) {
    t.is(between(at(1), { seconds: 1 + Math.floor(seconds), nanos: 0 }), text);
  }
  t.is(between(at(5), at(1)), '0s');
  t.is(between(null, at(1)), '0s');
});

test('until when: one instant, two, none, no end', (t) => {
  const serving = (first: number | null, last: number | null, endless = false) =>
    servingText(
      {
        serves_until: first === null ? null : at(first),
        last_serves_until: last === null ? null : at(last),
        serves_without_end: endless,
      },
      at(0),
    );
  const text = 'until 1970-01-01T00:01:00.000Z (60s more)';
  t.is(serving(60, 60), `${text}, if no upstream answers`);
  t.is(serving(60, null), `${text}, if no upstream answers`);
  t.is(serving(60, 61), `${text}, the last DEK until 1970-01-01T00:01:01.000Z (61s more), if no upstream answers`);
  t.is(serving(null, null), undefined);
  t.is(serving(null, null, true), 'without end, if no upstream answers');
});

test('what calls at a KEK found', (t) => {
  const status = {
    upstream: 'u',
    kek: 'k',
    role: '',
    missing_deks: 0,
    as_of: at(1),
    since: at(1),
    last_failure: '',
    last_failure_at: null,
    last_failure_message: '',
  };
  const failed = { last_failure: 'refused', last_failure_at: at(2) };
  t.is(healthText({ ...status, state: '' }), 'not called yet');
  t.is(healthText({ ...status, ...failed, state: '' }), 'not known, last failure refused at 1970-01-01T00:00:02.000Z');
  t.is(healthText({ ...status, state: 'ok' }), 'ok since 1970-01-01T00:00:01.000Z');
  t.is(
    healthText({ ...status, ...failed, state: 'ok' }),
    'ok since 1970-01-01T00:00:01.000Z, last failure refused at 1970-01-01T00:00:02.000Z',
  );
  t.is(healthText({ ...status, ...failed, state: 'refused' }), 'refused since 1970-01-01T00:00:01.000Z');
});

test('DEKs that were made without a KEK are told with it', (t) => {
  t.is(missingText({ missing_deks: 0 }), '');
  t.is(missingText({ missing_deks: 2 }), '; 2 DEKs that encrypt lack it');
  const times = { as_of: at(1), since: at(1) };
  const status = { upstream: 'u', kek: 'k', role: 'RECIPIENT_ROLE_AUTHORITY', ...times, state: 'unreachable' };
  const failed = { last_failure: 'unreachable', last_failure_at: at(1), last_failure_message: 'refused' };
  t.is(
    kekText({ ...status, missing_deks: 1, ...failed }),
    'k (authority, upstream u): unreachable since 1970-01-01T00:00:01.000Z; 1 DEK that encrypts lacks it',
  );
});
