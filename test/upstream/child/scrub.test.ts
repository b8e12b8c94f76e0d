import { randomBytes } from 'node:crypto';
import test from 'ava';
import { scrub } from '../../../src/upstream/child/scrub.ts';

test('text of a service stays as it is', (t) => {
  for (const text of [
    'AccessDeniedException: User arn:aws:iam::000000000000:user/dekd is not authorized to perform kms:Decrypt',
    'connect ECONNREFUSED 127.0.0.1:8200',
    'at open (/app/node_modules/@aws-sdk/client-kms/dist-cjs/index.js:12:3)',
    'key arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab is disabled',
    'Überprüfung fehlgeschlagen',
  ]) {
    t.is(scrub(text, 500), text);
  }
});

test('keys and tokens do not stay', (t) => {
  for (let count = 0; count < 2_000; count++) {
    const key = randomBytes(32);
    const hex = key.toString('hex');
    for (const secret of [hex, hex.toUpperCase(), key.toString('base64'), key.toString('base64url')]) {
      t.false(scrub(`the key is ${secret}, says the service`, 500).includes(secret.slice(0, 24)), secret);
    }
  }
  t.is(scrub('token hvs.CAESIJf8Dk2lqW0pZ3xYbN7vTqA1', 500), 'token hvs.[…]');
});

test('one line, bounded, without what a terminal acts on', (t) => {
  t.is(scrub('a\nb\r\n\u001b[31mc\u0007\u202ed\u2028e\0', 500), 'a b [31mc d e');
  t.is(scrub('x'.repeat(501), 500), `${'x'.repeat(500)}…`);
  t.is(scrub('  ', 500), '');
});

test('a long text takes no long time', (t) => {
  const started = performance.now();
  scrub('aB'.repeat(5_000_000), 500);
  scrub('aB'.repeat(250), 500);
  t.true(performance.now() - started < 1_000);
});
