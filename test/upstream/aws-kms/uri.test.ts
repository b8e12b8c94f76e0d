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

const OTHERS = [
  '',
  ID,
  MRK,
  ARN.toUpperCase(),
  ARN.replace('eu-west-1', ''),
  ARN.replace('eu-west-1', 'evil.example#'),
  ARN.replace('eu-west-1', 'eu-west-1.evil.example'),
  ARN.replace('111122223333', '11112222333'),
  ARN.replace(':key/', ':key/../'),
  ARN.replace(ID, ID.toUpperCase()),
  `${ARN} `,
  `${ARN}\n`,
  ARN.replace('kms', 's3'),
  'alias/',
  'alias/a b',
  `${ARN}${'x'.repeat(1_000)}`,
];

for (const rest of OTHERS) {
  test(`not a KEK of AWS KMS: ${JSON.stringify(rest.slice(0, 90))}`, (t) => {
    const error = t.throws(() => resolveKey(`aws-kms:${rest}`, 'eu-west-1'), { name: 'DekdError' });
    t.regex(error.message, /^kek: "aws-kms:.* is not a KEK of AWS KMS; write aws-kms: and the key ARN/s);
    t.true(error.message.length < 400);
  });
}

test('a KEK of another upstream is none of AWS KMS', (t) => {
  t.throws(() => resolveKey(`local:${ARN}`, 'eu-west-1'), { message: /is not a KEK of AWS KMS/ });
});
