import test from 'ava';
import { checkLabels, checkName } from '../../../src/upstream/local/labels.ts';

test('labels within the limits are copied', (t) => {
  const largest = new Map(Array.from({ length: 64 }, (_, index) => [`${index}`.padEnd(128, 'k'), 'v'.repeat(256)]));
  const copy = checkLabels(largest);
  t.deepEqual(copy, largest);
  t.not(copy, largest);
  t.deepEqual(checkLabels(new Map([['ä', '']])), new Map([['ä', '']]));
});

const REFUSED: readonly [string, Map<string, string>, RegExp][] = [
  ['65 labels', new Map(Array.from({ length: 65 }, (_, index) => [`${index}`, ''])), /^labels: 65 labels, at most 64/],
  ['an empty key', new Map([['', 'v']]), /^labels: a key of 0 bytes, 1 to 128/],
  ['a key of 129 bytes', new Map([['k'.repeat(129), 'v']]), /^labels: a key of 129 bytes/],
  ['a key of 129 bytes in 65 characters', new Map([[`${'ä'.repeat(64)}k`, 'v']]), /^labels: a key of 129 bytes/],
  ['a value of 257 bytes', new Map([['k', 'v'.repeat(257)]]), /^labels: a value of 257 bytes, at most 256/],
  ['half a surrogate pair', new Map([['k', '\ud800']]), /^labels: a key or value is not valid Unicode/],
];

for (const [what, labels, message] of REFUSED) {
  test(`${what} is refused`, (t) => {
    const error = t.throws(() => checkLabels(labels), { name: 'DekdError', message });
    t.is((error as unknown as { reason: string }).reason, 'INVALID_REQUEST');
  });
}

test('names follow the pattern of key names', (t) => {
  for (const name of ['a', '0', 'Orders.2026_eu-west', 'a'.repeat(128)]) t.notThrows(() => checkName(name));
  for (const name of ['', '-a', '_a', 'a'.repeat(129), 'a\n', 'a/b', 'ä']) {
    t.throws(() => checkName(name), { name: 'DekdError', message: /^key: must be 1-128 of/ }, JSON.stringify(name));
  }
});
