import test from 'ava';
import { contentName, nonceBytes, SUITES, suiteName } from '../../src/crypto/suites.ts';

test('suites are called as the configuration calls them', (t) => {
  t.deepEqual(Object.entries(SUITES), [
    ['XAES_256_GCM', 1],
    ['AES_256_GCM', 2],
  ]);
  t.deepEqual([1, 2].map(suiteName), ['XAES_256_GCM', 'AES_256_GCM']);
});

test('a nonce length marks the suites that are served', (t) => {
  t.deepEqual([0, 1, 2, 3, 4, 5, 255, -1, 1.5].map(nonceBytes), [0, 24, 12, 0, 0, 0, 0, 0, 0]);
});

test('reserved and unknown ones are named', (t) => {
  t.is(suiteName(3), 'suite 3 (XChaCha20-Poly1305), which is reserved');
  t.is(suiteName(4), 'suite 4 (streams), which is reserved');
  t.is(suiteName(0), 'unknown suite 0');
  t.is(suiteName(9), 'unknown suite 9');
  t.is(contentName(3), 'content 3 (streams), which is reserved');
  t.is(contentName(4), 'unknown content 4');
  t.deepEqual([1, 2].map(contentName), ['message', 'data key']);
});
