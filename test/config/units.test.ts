import test from 'ava';
import {
  durationText,
  modeText,
  parseDuration,
  parseInstant,
  parseMode,
  parseSize,
  sizeText,
} from '../../src/config/units.ts';

test('durations: one whole number and one unit', (t) => {
  const good = { '0s': 0, '250ms': 250, '30s': 30_000, '5m': 300_000, '24h': 86_400_000, '7d': 604_800_000 };
  for (const [text, ms] of Object.entries(good)) t.is(parseDuration(text), ms, text);
  const bad = [
    '',
    '5',
    's',
    '5 m',
    '-5m',
    '1.5h',
    '1h30m',
    '5M',
    '5m ',
    '٥m',
    '999999999999999d',
    5,
    null,
    true,
    ['5m'],
  ];
  for (const value of bad) t.is(parseDuration(value), undefined, String(value));
});

test('sizes: powers of 1024 by their names, or whole bytes', (t) => {
  const good: readonly [unknown, number][] = [
    ['0B', 0],
    ['8MiB', 2 ** 23],
    ['1TiB', 2 ** 40],
    [4096, 4096],
    ['2KiB', 2048],
    ['3GiB', 3 * 2 ** 30],
  ];
  for (const [value, bytes] of good) t.is(parseSize(value), bytes, String(value));
  const bad = [
    '',
    '8',
    '8MB',
    '8M',
    '8 MiB',
    '-1B',
    '1.5MiB',
    -1,
    1.5,
    Number.NaN,
    2 ** 53,
    '999999999999999TiB',
    null,
  ];
  for (const value of bad) t.is(parseSize(value), undefined, String(value));
});

test('modes: octal, in quotes', (t) => {
  t.is(parseMode('0660'), 0o660);
  t.is(parseMode('600'), 0o600);
  for (const value of [660, 0o660, '0860', '66', '01777', '4755', '-660', '0o660', '', null]) {
    t.is(parseMode(value), undefined, String(value));
  }
});

test('instants: a day, a time to the second, and a zone', (t) => {
  t.is(parseInstant('2027-06-30T00:00:00Z'), Date.UTC(2027, 5, 30));
  t.is(parseInstant('2027-06-30T01:30:00+02:00'), Date.UTC(2027, 5, 29, 23, 30));
  t.is(parseInstant('2028-02-29T23:59:59-00:30'), Date.UTC(2028, 2, 1, 0, 29, 59));
  const bad = [
    '',
    '2027-06-30',
    '2027-06-30T00:00:00',
    '2027-06-30T00:00Z',
    '2027-06-30 00:00:00Z',
    '2027-06-30t00:00:00z',
    '2027-06-30T00:00:00.5Z',
    '2027-02-30T00:00:00Z',
    '2027-02-29T00:00:00+01:00',
    '2027-13-01T00:00:00Z',
    '2027-06-30T24:00:00Z',
    '2027-06-30T23:59:60Z',
    '2027-06-30T00:00:00+25:00',
    '20270-06-30T00:00:00Z',
    'tomorrow',
    1_814_313_600,
    null,
  ];
  for (const value of bad) t.is(parseInstant(value), undefined, String(value));
});

test('texts use the largest unit that divides', (t) => {
  t.deepEqual([0, 1, 1500, 60_000, 5_400_000, 86_400_000].map(durationText), [
    '0ms',
    '1ms',
    '1500ms',
    '1m',
    '90m',
    '1d',
  ]);
  t.deepEqual([0, 1, 1536, 2 ** 23, 2 ** 40].map(sizeText), ['0B', '1B', '1536B', '8MiB', '1TiB']);
  t.deepEqual([0o660, 0o600, 0o7].map(modeText), ['"0660"', '"0600"', '"0007"']);
});
