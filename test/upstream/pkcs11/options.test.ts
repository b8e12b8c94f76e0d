import test from 'ava';
import { MECHANISMS } from '../../../src/upstream/pkcs11/mechanisms.ts';
import { pkcs11 } from '../../../src/upstream/pkcs11/options.ts';
import { UNPROVEN_ALGORITHMS } from '../../../src/upstream/provider.ts';

test('a child reads the PIN and nothing else', (t) => {
  const options = { type: 'pkcs11', modulePath: '/usr/lib/hsm.so' } as const;
  t.deepEqual(pkcs11.readPaths({ ...options, pin: { file: '/run/pin' } }), ['/run/pin']);
  process.env['CREDENTIALS_DIRECTORY'] = '/run/credentials/dekd';
  t.deepEqual(pkcs11.readPaths({ ...options, pin: { credential: 'pin' } }), ['/run/credentials/dekd']);
  process.env['CREDENTIALS_DIRECTORY'] = '';
  t.deepEqual(pkcs11.readPaths({ ...options, pin: { credential: 'pin' } }), []);
});

test('what is wrapped with a public key proves no origin', (t) => {
  const open = MECHANISMS.filter(({ kind }) => kind === 'rsa').map(({ algorithm }) => algorithm);
  t.deepEqual(UNPROVEN_ALGORITHMS, open);
});

test('a child has threads for the sessions of two tokens', (t) => {
  const options = { type: 'pkcs11', modulePath: '/usr/lib/hsm.so', pin: { file: '/run/pin' } } as const;
  t.is(pkcs11.threads!(options), 32);
  t.is(pkcs11.threads!({ ...options, maxSessions: 3 }), 6);
});
