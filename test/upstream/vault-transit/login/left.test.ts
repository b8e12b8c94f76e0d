import test from 'ava';
import { parseLeft } from '../../../../src/upstream/vault-transit/login/left.ts';

const HELD = { token: 's.x', expiresAtMs: 1_234.5, firstTtlMs: 60_000 };
const REFUSAL = { digest: '00ff', message: 'no', untilMs: 5 };

test('what a child leaves is read back, a token that never ends too', (t) => {
  for (const expiresAtMs of [1_234.5, Number.POSITIVE_INFINITY]) {
    const left = { held: { ...HELD, expiresAtMs }, refusal: REFUSAL };
    t.deepEqual(parseLeft(JSON.parse(JSON.stringify(left))), left);
  }
});

test('what is not in form was not left', (t) => {
  const nothing = { held: undefined, refusal: undefined };
  for (const note of [undefined, null, 's.x', [], {}, HELD, { held: 1, refusal: [] }])
    t.deepEqual(parseLeft(note), nothing);
  for (const wrong of [
    { token: 7 },
    { token: 'a\r\nb: c' },
    { token: '' },
    { expiresAtMs: '1' },
    { firstTtlMs: null },
  ]) {
    t.deepEqual(parseLeft({ held: { ...HELD, ...wrong }, refusal: REFUSAL }), { held: undefined, refusal: REFUSAL });
  }
  for (const wrong of [{ digest: 7 }, { message: null }, { untilMs: '1' }]) {
    t.deepEqual(parseLeft({ held: HELD, refusal: { ...REFUSAL, ...wrong } }), { held: HELD, refusal: undefined });
  }
});
