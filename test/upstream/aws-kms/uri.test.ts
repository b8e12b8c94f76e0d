import test from 'ava';
import { aliasOf, keyArn, resolveKey } from '../../../src/upstream/aws-kms/uri.ts';

const ID = '1234abcd-12ab-34cd-56ef-1234567890ab';
const ARN = `arn:aws:kms:eu-west-1:111122223333:key/${ID}`;
const MRK = `mrk-${'0123456789abcdef'.repeat(2)}`;

test('a key ARN is its own normal form, and says its region', (t) => {
  for (const arn of [ARN, ARN.replace('arn:aws:', 'arn:aws-us-gov:').replace('eu-west-1', 'us-gov-east-1')]) {
    t.is(resolveKey(`aws-kms:${arn}`, undefined), `aws-kms:${arn}`);
    t.is(resolveKey(`aws-kms:${arn}`, 'ap-south-1'), `aws-kms:${arn}`);
    t.deepEqual(keyArn(`aws-kms:${arn}`, 'ap-south-1'), { arn, region: arn.split(':')[3] });
  }
});

test('a multi-Region key is the same in every region, and asked for in the one that the upstream names', (t) => {
  const normal = `aws-kms:arn:aws:kms::111122223333:key/${MRK}`;
  for (const region of ['eu-west-1', 'us-east-1', 'ap-southeast-2', '']) {
    const reference = `aws-kms:arn:aws:kms:${region}:111122223333:key/${MRK}`;
    t.is(resolveKey(reference, 'us-east-1'), normal);
  }
  t.is(resolveKey(normal, 'us-east-1'), normal);
  const arn = `arn:aws:kms:us-east-1:111122223333:key/${MRK}`;
  t.deepEqual(keyArn(normal, 'us-east-1'), { region: 'us-east-1', arn });
  t.throws(() => resolveKey(normal, undefined), {
    name: 'DekdError',
    message: /is a multi-Region key, .*; set region at its upstream to the one to ask$/,
  });
});

test('an alias is told, and refused with the way to its ARN', (t) => {
  for (const alias of ['alias/orders', 'arn:aws:kms:eu-west-1:111122223333:alias/team/orders_1']) {
    t.is(aliasOf(`aws-kms:${alias}`), alias);
    t.throws(() => resolveKey(`aws-kms:${alias}`, 'eu-west-1'), {
      name: 'DekdError',
      message: new RegExp(`is an alias, .* aws kms describe-key --key-id ${alias} --query KeyMetadata.Arn$`),
    });
  }
  t.is(aliasOf(`aws-kms:${ARN}`), undefined);
  t.is(aliasOf('local:alias/orders'), undefined);
});

const NO_REGION = 'has no region such as eu-west-1 after kms:';
const NO_ID = 'has no id of a key after key/, 36 characters or mrk-…';
const OTHERS: readonly [rest: string, flaw: string][] = [
  ['', 'does not begin with aws-kms:arn:'],
  [ID, 'is a key id alone, which does not say region and account'],
  [MRK, 'is a key id alone, which does not say region and account'],
  [`key/${ID}`, 'does not begin with aws-kms:arn:'],
  [ARN.toUpperCase(), 'has capital letters, and KMS writes small ones'],
  [ARN.replace(ID, ID.toUpperCase()), 'has capital letters, and KMS writes small ones'],
  [ARN.replace('arn:aws:', 'arn:amazon:'), 'has no partition such as aws, aws-cn or aws-us-gov after arn:'],
  [ARN.replace('kms', 's3'), 'is not an ARN of the service kms'],
  ['arn:aws:iam::111122223333:role/dekd', 'is not an ARN of the service kms'],
  [ARN.replace('eu-west-1', ''), 'has no region after kms:, and only multi-Region keys (mrk-…) go without'],
  [ARN.replace('eu-west-1:', ''), 'has no region before the account'],
  [ARN.replace('eu-west-1', 'ireland'), NO_REGION],
  [ARN.replace('eu-west-1', 'evil.example#'), NO_REGION],
  [ARN.replace('eu-west-1', 'eu-west-1.evil.example'), NO_REGION],
  [ARN.replace('111122223333', '11112222333'), 'has no account of 12 digits after the region'],
  [ARN.replace('111122223333', '1111-2222-3333'), 'has no account of 12 digits after the region'],
  [ARN.replace('key/', ''), 'has no key/ after the account'],
  [ARN.replace('key/', 'key:'), 'has no key/ after the account'],
  ['arn:aws:kms:eu-west-1:111122223333', 'has no key/ after the account'],
  [ARN.replace(':key/', ':key/../'), NO_ID],
  [ARN.slice(0, -1), NO_ID],
  [`${ARN}${'x'.repeat(1_000)}`, NO_ID],
  [`${ARN} `, 'has a blank or a line break in it'],
  [`${ARN}\n`, 'has a blank or a line break in it'],
  ['alias/a b', 'has a blank or a line break in it'],
  ['alias/', 'names an alias, and no well-formed one'],
  ['arn:aws:kms:eu-west-1:111122223333:alias/', 'names an alias, and no well-formed one'],
];

for (const [rest, flaw] of OTHERS) {
  test(`not a KEK of AWS KMS: ${JSON.stringify(rest.slice(0, 90))}`, (t) => {
    const { message } = t.throws(() => resolveKey(`aws-kms:${rest}`, 'eu-west-1'), { name: 'DekdError' });
    const end = ` is not a KEK of AWS KMS: it ${flaw}; write aws-kms:arn:aws:kms:REGION:ACCOUNT:key/ID`;
    t.true(message.startsWith('kek: "aws-kms:') && message.endsWith(end), message);
    t.true(message.length < 450);
  });
}

test('a KEK of another upstream is none of AWS KMS', (t) => {
  t.throws(() => resolveKey(`local:${ARN}`, 'eu-west-1'), { message: /is not a KEK of AWS KMS/ });
});
