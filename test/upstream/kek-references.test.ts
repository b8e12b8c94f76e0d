import test from 'ava';
import { howToMakeKek, kekProblem, kekProblemAtStart } from '../../src/upstream/kek-references.ts';
import type { UpstreamOptions } from '../../src/upstream/registry.ts';

const ARN = 'arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab';
const MRK = `mrk-${'0123456789abcdef'.repeat(2)}`;
const LOCAL = { type: 'local' } as unknown as UpstreamOptions;
const AWS = { type: 'aws-kms' } as const;
const VAULT = { type: 'vault-transit', addresses: [], login: { method: 'proxy' } } as const;
const HSM = { type: 'pkcs11', modulePath: '/lib.so', pin: { file: '/pin' } } as const;

const fine: readonly [kek: string, options: UpstreamOptions][] = [
  ['local:orders', LOCAL],
  ['local:0123456789abcdef/orders', LOCAL],
  ['vault-transit:transit/keys/orders', VAULT],
  ['vault-transit:a/b/transit/keys/orders', { ...VAULT, namespace: 'a/b' }],
  [`aws-kms:${ARN}`, AWS],
  [`aws-kms:arn:aws:kms::111122223333:key/${MRK}`, { ...AWS, region: 'eu-west-1' }],
  ['pkcs11:object=orders;token=hsm-a', HSM],
  ['pkcs11:object=orders', { ...HSM, tokens: ['a', 'b'] }],
];
for (const [kek, options] of fine) {
  test(`nothing is wrong with ${kek}`, (t) => {
    t.is(kekProblem(kek, options), undefined);
    t.is(kekProblemAtStart(kek, options), undefined);
  });
}

const wrong: readonly [kek: string, options: UpstreamOptions, problem: RegExp][] = [
  ['local:', LOCAL, /^"local:" is not a KEK of a local upstream; write local:NAME/],
  [
    'vault-transit:transit/orders',
    VAULT,
    /^"vault-transit:transit\/orders" is not a KEK of a vault-transit upstream; write/,
  ],
  [
    'vault-transit:transit/keys/orders',
    { ...VAULT, namespace: 'team-a' },
    /lies outside namespace team-a of its upstream; did you mean vault-transit:team-a\/transit\/keys\/orders\?$/,
  ],
  [
    'aws-kms:orders',
    AWS,
    /^"aws-kms:orders" is not a KEK of AWS KMS: it does not begin with aws-kms:arn:; write aws-kms:arn:aws:kms:REGION:/,
  ],
  [
    `aws-kms:arn:aws:kms:eu-west-1:111122223333:key/${MRK}`,
    AWS,
    /is a multi-Region key, .*; set region at its upstream/,
  ],
  ['pkcs11:object=orders', HSM, /has no token; add ;token=LABEL/],
  [
    'pkcs11:object=orders;token=c',
    { ...HSM, tokens: ['a', 'b'] },
    /names a token that is not among `tokens` of the upstream \(a, b\)$/,
  ],
  ['pkcs11:object=orders?pin-value=1234', HSM, /^a PKCS#11 URI with pin-value: a PIN has no place in a URI/],
  ['nowhere:orders', LOCAL, /^"nowhere:orders" has no known scheme; a KEK is written with one of local:,/],
];
for (const [kek, options, problem] of wrong) {
  test(`${kek} is refused by its type`, (t) => {
    t.regex(kekProblem(kek, options) ?? '', problem);
    t.is(kekProblemAtStart(kek, options), kekProblem(kek, options));
  });
}

test('what may be a PIN is not shown', (t) => {
  for (const kek of [
    'pkcs11:object=orders;token=a?pin-value=9876',
    'pkcs11:pin-value=9876',
    'pkcs11:object=a;;pin-source=9876',
  ]) {
    t.regex(kekProblem(kek, HSM) ?? '', /^a PKCS#11 URI with pin-(?:value|source): [^9]*$/);
  }
});

test('an alias is wrong; at a start its upstream says so, with what it means', (t) => {
  for (const alias of ['alias/orders', 'arn:aws:kms:eu-west-1:111122223333:alias/orders']) {
    t.regex(
      kekProblem(`aws-kms:${alias}`, AWS) ?? '',
      /is an alias, .*: aws kms describe-key --key-id \S+ --query KeyMetadata.Arn$/,
    );
    t.is(kekProblemAtStart(`aws-kms:${alias}`, AWS), undefined);
  }
});

const made: readonly [kek: string, wayOut: string][] = [
  ['local:0123456789abcdef/orders', 'a custodian makes it with `dekctl keys create orders`'],
  ['local:orders', 'a custodian makes it with `dekctl keys create orders`'],
  ['vault-transit:a/transit/keys/orders', 'make it with `bao write -f a/transit/keys/orders type=aes256-gcm96`'],
  [
    `aws-kms:${ARN}`,
    'look at region and account in the ARN; another key is made with `aws kms create-key --region eu-west-1`, and its ARN named in its place',
  ],
  [
    `aws-kms:arn:aws:kms::111122223333:key/${MRK}`,
    'look at `region` of the upstream and the account in the ARN; another key is made with `aws kms create-key --multi-region`, and its ARN named in its place',
  ],
  [
    'pkcs11:id=%01%FF;object=orders;token=hsm-a',
    'make it with `pkcs11-tool --module LIB.so --token-label hsm-a --login --keygen --key-type AES:32 --label orders --id 01ff --sensitive --private --usage-decrypt`',
  ],
  // What a shell would take for something else is not put into a command.
  [
    'pkcs11:object=%24%28rm%20x%29',
    'make it with `pkcs11-tool --module LIB.so --token-label TOKEN --login --keygen --key-type AES:32 --label LABEL --sensitive --private --usage-decrypt`',
  ],
  ['gcp-kms:orders', 'make it there'],
];
for (const [kek, wayOut] of made) {
  test(`where there is no ${kek}`, (t) => t.is(howToMakeKek(kek), wayOut));
}
