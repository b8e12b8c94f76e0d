import test from 'ava';
import { createKey, dekId, freeKey, open, USE_MESSAGE } from '../../src/crypto/native.ts';
import { fromNative } from '../../src/crypto/native-errors.ts';
import { DekdError } from '../../src/errors.ts';
import { openTestArena } from '../native/load-key.ts';

function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

test('a tag that does not verify is an invalid ciphertext, its cause kept for the log', (t) => {
  openTestArena();
  const dek = createKey('dek');
  const thrown = thrownBy(() => open(dek, USE_MESSAGE, 1, Buffer.alloc(0), 0, Buffer.alloc(40), 0, Buffer.alloc(0)));
  freeKey(dek);
  const error = fromNative(thrown);
  t.is(error.reason, 'INVALID_CIPHERTEXT');
  t.is(error.cause, thrown);
});

test('a stale handle is our own fault and tells the caller nothing', (t) => {
  openTestArena();
  const dek = createKey('dek');
  freeKey(dek);
  const error = fromNative(thrownBy(() => dekId(dek)));
  t.deepEqual([error.reason, error.message], ['INTERNAL', 'internal error']);
});

test('every other code', (t) => {
  const reasons = Object.entries({
    ERR_NO_MEMORY: 'SECRET_MEMORY_EXHAUSTED',
    ERR_MESSAGE_LIMIT: 'QUOTA_EXCEEDED',
    ERR_INVALID_ARG: 'INTERNAL',
    ERR_CRYPTO: 'INTERNAL',
  });
  for (const [code, reason] of reasons) {
    const thrown = Object.assign(new Error('native'), { code });
    const error = fromNative(thrown);
    t.deepEqual([error.reason, error.cause], [reason, thrown]);
  }
  for (const thrown of [null, undefined, 'text', 7]) t.is(fromNative(thrown).reason, 'INTERNAL');
  const ours = new DekdError('KEY_MISMATCH', 'ours');
  t.is(fromNative(ours), ours);
});
