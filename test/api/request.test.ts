import test from 'ava';
import { checkKeyName, checkLength, contextOf } from '../../src/api/request.ts';
import type { DekdError } from '../../src/errors.ts';

const failing = (field: string) => ({ message: new RegExp(`^${field}: `) });

test('a context becomes a map, `__proto__` and all', (t) => {
  const fields = JSON.parse('{"__proto__":"a","constructor":"b","é":"c"}') as Record<string, string>;
  t.deepEqual(
    [...contextOf(fields)],
    [
      ['__proto__', 'a'],
      ['constructor', 'b'],
      ['é', 'c'],
    ],
  );
  t.is(contextOf({}).size, 0);
});

test('64 entries pass, 65 do not; no empty key, no reserved prefix', (t) => {
  const entries = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, '']));
  t.is(contextOf(entries(64)).size, 64);
  for (const fields of [entries(65), { '': 'a' }, { 'dekd:': 'a' }, { 'dekd:id': 'a' }, { 'aws:a': 'b' }]) {
    const error = t.throws<DekdError>(() => contextOf(fields), failing('encryption_context'));
    t.like(error, { reason: 'INVALID_REQUEST', metadata: { field: 'encryption_context' } });
  }
  t.is(contextOf({ dekd: 'a', AWS: 'b', 'aws-x': 'c', 'x:dekd:': 'd' }).size, 4);
});

test('key names', (t) => {
  for (const name of ['a', '0', 'A.b-c_d', 'k'.repeat(128)]) t.notThrows(() => checkKeyName('key', name));
  for (const name of ['', '.a', '-a', '_a', 'a b', 'a/b', 'é', 'a\n', 'k'.repeat(129), '__proto__']) {
    const error = t.throws<DekdError>(() => checkKeyName('destination_key', name), failing('destination_key'));
    t.like(error, { reason: 'INVALID_REQUEST', metadata: { field: 'destination_key' } }, name);
  }
});

test('lengths', (t) => {
  t.notThrows(() => checkLength('plaintext', Buffer.alloc(8), 8));
  t.throws(() => checkLength('plaintext', Buffer.alloc(9), 8), {
    message: 'plaintext: has 9 bytes, at most 8 are allowed',
  });
});
