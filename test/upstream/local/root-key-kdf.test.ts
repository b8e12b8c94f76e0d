import test from 'ava';
import { newRootKeyKdf, parseScryptParams, RAW } from '../../../src/upstream/local/root-key-kdf.ts';

const salt = Buffer.alloc(16, 7);
const params = (logN: number, r: number, p: number) => Buffer.concat([salt, Buffer.of(logN, r, p)]);

test('only a passphrase needs a function and a salt, a new one each time', (t) => {
  for (const source of [{ file: 'a' }, { credential: 'a' }, { development: true as const }]) {
    t.is(newRootKeyKdf(source), RAW);
  }
  const first = newRootKeyKdf({ passphrase: { file: 'a' } });
  const second = newRootKeyKdf({ passphrase: { credential: 'a' } });
  t.is(first.rootKeyKdf, 'scrypt');
  const { salt: madeSalt, ...cost } = parseScryptParams(first.rootKeyParams)!;
  t.deepEqual(cost, { logN: 17, r: 8, p: 1 });
  t.is(madeSalt.length, 16);
  t.notDeepEqual(first.rootKeyParams, second.rootKeyParams);
});

test('parameters are bounded before scrypt sees them: not weaker than dekd writes, not ruinous', (t) => {
  t.deepEqual(parseScryptParams(params(19, 8, 4)), { salt, logN: 19, r: 8, p: 4 });
  const hostile = [
    null,
    Buffer.alloc(0),
    params(17, 8, 1).subarray(1),
    Buffer.concat([params(17, 8, 1), Buffer.of(0)]),
    params(16, 8, 1),
    params(1, 8, 1),
    params(20, 8, 1),
    params(255, 8, 1),
    params(17, 1, 1),
    params(17, 255, 1),
    params(17, 8, 0),
    params(17, 8, 5),
    params(17, 8, 255),
  ];
  for (const bytes of hostile) t.is(parseScryptParams(bytes), undefined, bytes?.toString('hex'));
});
