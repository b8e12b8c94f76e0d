import test from 'ava';
import type { AwsKmsConfig } from '../../src/config/config.ts';
import { type AwsKmsOptions, awsKms } from '../../src/upstream/aws-kms/options.ts';
import { base, type Fields, key, parse, problemsOf } from './parse.ts';

const KEK = 'aws-kms:arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab';
const recipients = [{ upstream: 'store', kek: KEK, role: 'authority' }];
const orders = (changes: Fields = {}) => ({ orders: key('orders', { recipients, ...changes }) });
const config = (changes: Fields = {}, keys: Fields = orders()): Fields =>
  base({ upstreams: { store: { type: 'aws-kms', ...changes } }, keys });

function store(changes: Fields = {}, keys: Fields = orders()): AwsKmsConfig {
  const found = parse(config(changes, keys)).upstreams.get('store');
  if (found?.type !== 'aws-kms') throw new Error('no aws-kms upstream');
  return found;
}

test('what the configuration says is what the provider takes, with every default', (t) => {
  const options: AwsKmsOptions = store();
  t.deepEqual(options, {
    type: 'aws-kms',
    aliases: [],
    maxCalls: 1_000,
    idleMs: 60_000,
    warmChild: true,
    memoryMib: 256,
    environment: [],
  });
  t.deepEqual(JSON.parse(JSON.stringify(options)), options, 'it travels as JSON');
  t.is(awsKms.resolve(KEK, options), KEK);
});

test('what is further set', (t) => {
  const role = 'arn:aws:iam::111122223333:role/team/dekd';
  const changes = { region: 'us-gov-west-1', endpoint: 'https://KMS.example/', role, external_id: 'a:b' };
  t.like(store({ ...changes, sts_endpoint: 'http://127.0.0.1:5000' }), {
    region: 'us-gov-west-1',
    endpoint: 'https://kms.example',
    role,
    externalId: 'a:b',
    stsEndpoint: 'http://127.0.0.1:5000',
  });
  t.is(store({ endpoint: 'http://[::1]:4566' }).endpoint, 'http://[::1]:4566');
});

test('aliases of an upstream are listed once each: the provider refuses them with what they mean', (t) => {
  const alias = (name: string) => ({ upstream: 'store', kek: `aws-kms:alias/${name}` });
  const whole = { upstream: 'store', kek: 'aws-kms:arn:aws:kms:eu-west-1:111122223333:alias/old' };
  const keys = {
    orders: key('orders', { recipients: [{ ...alias('orders'), role: 'authority' }], decrypt_with: [whole] }),
    more: key('more', { recipients: [{ ...alias('orders'), role: 'authority' }] }),
  };
  t.deepEqual(store({}, keys).aliases, ['aws-kms:alias/orders', whole.kek]);
});

const ADDRESS = 'an address such as https://vpce-0123.kms.eu-west-1.vpce.amazonaws.com';
const wrong: readonly [changes: Fields, problem: string][] = [
  [{ endpoint: 'http://kms.example' }, `upstreams.store.endpoint: found "http://kms.example", expected ${ADDRESS}`],
  [{ endpoint: 'https://u:p@kms.example' }, `expected ${ADDRESS}`],
  [{ endpoint: 'https://kms.example/path' }, `expected ${ADDRESS}`],
  [{ endpoint: 7 }, `upstreams.store.endpoint: found 7, expected ${ADDRESS}`],
  [{ sts_endpoint: 'ftp://sts.example' }, `expected ${ADDRESS}`],
  [{ region: 'eu' }, 'upstreams.store.region: found "eu", expected a region such as eu-west-1'],
  [{ role: 'dekd' }, 'upstreams.store.role: found "dekd", expected the ARN of an IAM role'],
  [{ external_id: 'a b' }, 'expected an external id of 2 to 1224 characters'],
];

for (const [changes, problem] of wrong) {
  test(`refused: ${JSON.stringify(changes)}`, (t) => {
    const found = problemsOf(config(changes)).join('\n');
    t.true(found.includes(problem), found);
  });
}
