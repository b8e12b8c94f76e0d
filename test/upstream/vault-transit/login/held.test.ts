import test from 'ava';
import { parseNote } from '../../../../src/upstream/vault-transit/login/held.ts';

test('what a child leaves is read back, a token that never ends too', (t) => {
  for (const expiresAtMs of [1_234.5, Number.POSITIVE_INFINITY]) {
    const held = { token: 's.x', expiresAtMs, firstTtlMs: 60_000 };
    t.deepEqual(parseNote(JSON.parse(JSON.stringify(held))), held);
  }
});

test('anything else is nothing', (t) => {
  const held = { token: 's.x', expiresAtMs: 1, firstTtlMs: 1 };
  for (const note of [undefined, null, 's.x', [], {}, { ...held, token: 'a\r\nb: c' }, { ...held, token: '' }]) {
    t.is(parseNote(note), undefined);
  }
  for (const wrong of [{ token: 7 }, { expiresAtMs: '1' }, { firstTtlMs: null }]) {
    t.is(parseNote({ ...held, ...wrong }), undefined);
  }
});
