import test from 'ava';
import { parsePkcs11Kek, resolve } from '../../../src/upstream/pkcs11/uri.ts';

const NORMAL_FORMS: readonly [written: string, normal: string][] = [
  ['pkcs11:object=orders;token=hsm-a', 'pkcs11:object=orders;token=hsm-a'],
  ['pkcs11:token=hsm-a;object=orders', 'pkcs11:object=orders;token=hsm-a'],
  ['pkcs11:token=My%20HSM;id=%0a%FF;object=a+b', 'pkcs11:id=%0A%FF;object=a%2Bb;token=My%20HSM'],
  ['pkcs11:id=AZ%41%7e;token=t', 'pkcs11:id=AZA~;token=t'],
  ['pkcs11:object=%C3%BCber;token=:[]@!$()*,=&', 'pkcs11:object=%C3%BCber;token=%3A%5B%5D%40%21%24%28%29%2A%2C%3D%26'],
  ["pkcs11:object=it's;token=t", 'pkcs11:object=it%27s;token=t'],
  ['pkcs11:object=%EF%BB%BFbom;token=t', 'pkcs11:object=%EF%BB%BFbom;token=t'],
];

for (const [written, normal] of NORMAL_FORMS) {
  test(`${written} in normal form`, (t) => {
    t.is(resolve(written, {}), normal);
    t.is(resolve(normal, {}), normal);
    t.deepEqual(parsePkcs11Kek(written), parsePkcs11Kek(normal));
  });
}

test('what a URI names comes out as bytes and text', (t) => {
  t.deepEqual(parsePkcs11Kek('pkcs11:id=%00%01z;object=%C3%BC;token=a%3Bb'), {
    id: Buffer.from([0, 1, 0x7a]),
    object: 'ü',
    token: 'a;b',
  });
});

const REFUSED: readonly [reference: string, problem: RegExp][] = [
  ['', /no known scheme/],
  ['local:orders', /is not a PKCS#11 URI/],
  ['pkcs11:', /is not made of/],
  ['pkcs11:token=t', /names no key/],
  ['pkcs11:object=orders', /has no token/],
  ['pkcs11:object=;token=t', /has in object nothing/],
  ['pkcs11:object=a;object=b;token=t', /has object twice/],
  ['pkcs11:object=a b;token=t', /must be percent-encoded/],
  ['pkcs11:object=ü;token=t', /must be percent-encoded/],
  ['pkcs11:object=a/b;token=t', /must be percent-encoded/],
  ['pkcs11:object=%4;token=t', /must be percent-encoded/],
  ['pkcs11:object=%zz;token=t', /must be percent-encoded/],
  ['pkcs11:object=%FF;token=t', /has bytes in object that are not UTF-8/],
  ['pkcs11:object=a;token=t;', /is not made of/],
  ['pkcs11:OBJECT=a;token=t', /is not made of/],
  ['pkcs11:object=a;token=t;x-vendor=1', /is not made of/],
  ['pkcs11:object=a;token=t?', /is not made of/],
  ['pkcs11:object=a;token=t?object=b', /is not made of/],
  [`pkcs11:object=a;token=${'t'.repeat(33)}`, /more than 32 bytes/],
  ['pkcs11:object=a;token=t%20', /blank at its end/],
  [`pkcs11:object=${'a'.repeat(256)};token=t`, /more than 255 bytes in object/],
  ['pkcs11:object=a;token=t;serial=12', /with serial: leave it out/],
  ['pkcs11:object=a;token=t;slot-id=1', /with slot-id: leave it out/],
  ['pkcs11:object=a;token=t;type=secret-key', /with type: leave it out/],
  ['pkcs11:object=a;token=t?module-path=/x.so', /with module-path: give the upstream `module_path`/],
  ['pkcs11:object=a;token=t?pin-source=file:/x', /with pin-source: give the upstream `pin/],
];

for (const [reference, problem] of REFUSED) {
  test(`${reference.slice(0, 60)} is refused`, (t) => {
    const error = t.throws(() => resolve(reference, {}), { name: 'DekdError' });
    t.regex(error!.message, problem);
    t.true(error!.message.length < 500);
  });
}

test('a PIN in a URI is refused and not repeated', (t) => {
  for (const reference of [
    'pkcs11:object=a;token=t?pin-value=s3cret',
    'pkcs11:object=a;token=t;pin-value=s3cret',
    'pkcs11:object=a a;token=t?x=1&pin-value=s3cret',
    'pkcs11:object=a a;pin-value=s3cret',
  ]) {
    const error = t.throws(() => resolve(reference, {}), { name: 'DekdError' });
    t.false(error!.message.includes('s3cret'), error!.message);
  }
});

test('a cluster names its tokens once', (t) => {
  const options = { tokens: ['hsm-a', 'hsm b'] };
  t.is(resolve('pkcs11:object=orders', options), 'pkcs11:object=orders');
  t.is(resolve('pkcs11:token=hsm%20b;object=orders', options), 'pkcs11:object=orders;token=hsm%20b');
  t.throws(() => resolve('pkcs11:object=orders;token=other', options), { message: /not among `tokens`.*hsm-a, hsm b/ });
});
