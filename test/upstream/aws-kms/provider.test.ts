import {
  CancelKeyDeletionCommand,
  CreateAliasCommand,
  CreateKeyCommand,
  DisableKeyCommand,
  EncryptCommand,
  type KMSClient,
  ReplicateKeyCommand,
  RotateKeyOnDemandCommand,
  ScheduleKeyDeletionCommand,
} from '@aws-sdk/client-kms';
import test, { type ExecutionContext } from 'ava';
import { open } from '../../../src/upstream/aws-kms/provider.ts';
import type { ChildProvider } from '../../../src/upstream/child/child-provider.ts';
import type { WrapContext, WrappedDek } from '../../../src/upstream/provider.ts';
import { wrapContext } from '../../contract/upstream-context.ts';
import { fails } from '../../contract/upstream-contract.ts';
import { startLocalStack } from '../../counterparts/localstack/start.ts';
import { startMoto } from '../../counterparts/moto/start.ts';
import { onDemand } from '../../counterparts/on-demand.ts';
import { ANY_CREDENTIALS, adminClient, FRESH, LIVE, optionsFor, setEnvironment, someDek } from './world.ts';

setEnvironment(ANY_CREDENTIALS);

const COUNTERPARTS = {
  localstack: onDemand('localstack', startLocalStack),
  moto: onDemand('moto', (directory) => startMoto(directory)),
} as const;

interface World {
  readonly endpoint: string;
  readonly admin: KMSClient;
  readonly provider: ChildProvider;
  readonly arn: string;
  readonly kek: string;
  readonly context: WrapContext;
  readonly wrapped: WrappedDek;
}

type Name = keyof typeof COUNTERPARTS;

/** Registers a test on each counterpart that `title` holds for: `on` leaves out one that lies (docs/upstreams/aws-kms.md). */
function onCounterparts(
  title: string,
  check: (t: ExecutionContext, world: World) => Promise<void>,
  on: readonly Name[] = ['localstack', 'moto'],
): void {
  for (const name of on) {
    test(`${name}: ${title}`, async (t) => {
      const service = await COUNTERPARTS[name](t);
      if (service === undefined) return;
      const { endpoint } = service;
      const admin = adminClient(endpoint);
      const provider = await open(optionsFor(endpoint, { region: 'eu-west-1' }), {});
      t.teardown(async () => {
        admin.destroy();
        await provider.close();
      });
      const arn = await createKey(admin);
      const context = wrapContext({ 'dekd:key': 'orders', 'dekd:id': 'ab'.repeat(32), tenant: 'acme', ü: 'é' });
      const wrapped = await provider.wrap(`aws-kms:${arn}`, someDek(), context, LIVE);
      await check(t, { endpoint, admin, provider, arn, kek: `aws-kms:${arn}`, context, wrapped });
    });
  }
}

async function createKey(admin: KMSClient, input: { MultiRegion?: boolean } = {}): Promise<string> {
  // moto does not fill in the default of KeyUsage.
  const { KeyMetadata } = await admin.send(new CreateKeyCommand({ KeyUsage: 'ENCRYPT_DECRYPT', ...input }));
  return KeyMetadata!.Arn!;
}

onCounterparts('a wrapped DEK unwraps to the same DEK, over a connection of its own too', async (t, world) => {
  const { provider, kek, wrapped, context } = world;
  t.is(wrapped.kekVersion, '');
  t.is(wrapped.algorithm, 1);
  for (const call of [LIVE, FRESH, LIVE]) t.deepEqual(await provider.unwrap(kek, wrapped, context, call), someDek());
});

onCounterparts('a DEK comes in memory of its own', async (t, { provider, kek, wrapped, context }) => {
  const dek = await provider.unwrap(kek, wrapped, context, LIVE);
  t.is(dek.buffer.byteLength, 32);
});

onCounterparts('another context is invalid, and so is one without the pairs', async (t, { provider, kek, wrapped }) => {
  for (const pairs of [{}, { 'dekd:key': 'orders' }, { 'dekd:key': 'orders', tenant: 'umbrella' }]) {
    await fails(t, provider.unwrap(kek, wrapped, wrapContext(pairs), LIVE), 'invalid');
  }
});

onCounterparts('a pair called __proto__ is a pair like any other', async (t, { provider, kek }) => {
  const context = wrapContext(JSON.parse('{"dekd:key":"orders","__proto__":"x"}'));
  const wrapped = await provider.wrap(kek, someDek(), context, LIVE);
  await fails(t, provider.unwrap(kek, wrapped, wrapContext({ 'dekd:key': 'orders' }), LIVE), 'invalid');
});

onCounterparts('a wrapped DEK that was changed or cut is invalid', async (t, { provider, kek, wrapped, context }) => {
  const { length } = wrapped.bytes;
  const last = Uint8Array.from(wrapped.bytes);
  last[length - 1]! ^= 1;
  const middle = Uint8Array.from(wrapped.bytes);
  middle[length >> 1]! ^= 1;
  const cut = [wrapped.bytes.subarray(0, -1), wrapped.bytes.subarray(0, 1), new Uint8Array(), new Uint8Array(6145)];
  for (const bytes of [last, middle, ...cut]) {
    await fails(t, provider.unwrap(kek, { ...wrapped, bytes }, context, LIVE), 'invalid');
  }
  await fails(t, provider.unwrap(kek, { ...wrapped, algorithm: 5 }, context, LIVE), 'invalid');
  await fails(t, provider.unwrap(kek, { ...wrapped, kekVersion: '1' }, context, LIVE), 'invalid');
});

// moto says AccessDeniedException, which would be a refusal; AWS says InvalidCiphertextException or IncorrectKeyException.
onCounterparts(
  "a changed head, another key's DEK and garbage are invalid",
  async (t, { provider, admin, kek, wrapped, context }) => {
    const head = Uint8Array.from(wrapped.bytes);
    head[0]! ^= 1;
    for (const bytes of [head, new Uint8Array(100).fill(7)]) {
      await fails(t, provider.unwrap(kek, { ...wrapped, bytes }, context, LIVE), 'invalid');
    }
    const other = `aws-kms:${await createKey(admin)}`;
    await fails(t, provider.unwrap(other, wrapped, context, LIVE), 'invalid');
  },
  ['localstack'],
);

onCounterparts('what KMS decrypts but is no DEK is invalid', async (t, { provider, admin, arn, kek, context }) => {
  const EncryptionContext = Object.fromEntries(context.pairs);
  const command = new EncryptCommand({ KeyId: arn, Plaintext: new Uint8Array(31), EncryptionContext });
  const { CiphertextBlob: bytes = new Uint8Array() } = await admin.send(command);
  await fails(t, provider.unwrap(kek, { kekVersion: '', algorithm: 1, bytes }, context, LIVE), 'invalid');
});

onCounterparts('a KEK that does not exist is refused', async (t, { provider, arn, wrapped, context }) => {
  const missing = `aws-kms:${arn.slice(0, -12)}000000000000`;
  for (const call of [
    provider.wrap(missing, someDek(), context, LIVE),
    provider.unwrap(missing, wrapped, context, LIVE),
    provider.describe(missing, LIVE),
  ]) {
    const failure = await fails(t, call, 'refused', 'kek');
    t.is(failure?.condition, 'missing');
  }
});

onCounterparts('describe tells the state', async (t, { provider, admin, arn, kek }) => {
  t.like(await provider.describe(kek, LIVE), { uri: kek, state: 'active', versions: [] });
  // moto's DisableKey fails for an ARN.
  await admin.send(new DisableKeyCommand({ KeyId: arn.split('/')[1] }));
  t.is((await provider.describe(kek, LIVE)).state, 'disabled');
});

// moto lets such keys encrypt and decrypt.
onCounterparts(
  'a disabled KEK and one pending deletion are refused, whatever the context, and serve again',
  async (t, { provider, admin, arn, kek, wrapped, context }) => {
    const both = () => [
      provider.wrap(kek, someDek(), context, LIVE),
      provider.unwrap(kek, wrapped, context, LIVE),
      provider.unwrap(kek, wrapped, wrapContext({}), LIVE),
    ];
    await admin.send(new DisableKeyCommand({ KeyId: arn }));
    for (const call of both()) t.is((await fails(t, call, 'refused', 'kek'))?.condition, 'disabled');
    await admin.send(new ScheduleKeyDeletionCommand({ KeyId: arn, PendingWindowInDays: 7 }));
    for (const call of both()) t.is((await fails(t, call, 'refused', 'kek'))?.condition, 'pending-deletion');
    t.is((await provider.describe(kek, LIVE)).state, 'pending-deletion');
    await admin.send(new CancelKeyDeletionCommand({ KeyId: arn }));
    for (const call of both()) t.is((await fails(t, call, 'refused', 'kek'))?.condition, 'disabled');
  },
  ['localstack'],
);

onCounterparts(
  'a DEK wrapped before a rotation unwraps after it',
  async (t, { provider, admin, arn, kek, ...world }) => {
    await admin.send(new RotateKeyOnDemandCommand({ KeyId: arn }));
    t.deepEqual(await provider.unwrap(kek, world.wrapped, world.context, LIVE), someDek());
    const again = await provider.wrap(kek, someDek(), world.context, LIVE);
    t.deepEqual(await provider.unwrap(kek, again, world.context, LIVE), someDek());
  },
);

// moto's replicas cannot decrypt.
onCounterparts(
  'a multi-Region key is one KEK in both regions, and its replica serves when the primary does not',
  async (t, { provider, admin, endpoint, context }) => {
    const arn = await createKey(admin, { MultiRegion: true });
    const kek = `aws-kms:${arn.replace(':eu-west-1:', '::')}`;
    const wrapped = await provider.wrap(kek, someDek(), context, LIVE);
    await admin.send(new ReplicateKeyCommand({ KeyId: arn, ReplicaRegion: 'us-east-1' }));
    await admin.send(new DisableKeyCommand({ KeyId: arn }));
    await fails(t, provider.unwrap(kek, wrapped, context, LIVE), 'refused', 'kek');
    const elsewhere = await open(optionsFor(endpoint, { region: 'us-east-1' }), {});
    t.teardown(() => elsewhere.close());
    t.deepEqual(await elsewhere.unwrap(kek, wrapped, context, LIVE), someDek());
    t.is((await elsewhere.describe(kek, LIVE)).uri, kek);
  },
  ['localstack'],
);

// moto encrypts with a key for signatures.
onCounterparts(
  'a key that cannot wrap is told by describe, and is no refusal',
  async (t, { provider, admin, context }) => {
    const input = { KeySpec: 'RSA_2048', KeyUsage: 'SIGN_VERIFY' } as const;
    const { KeyMetadata } = await admin.send(new CreateKeyCommand(input));
    const kek = `aws-kms:${KeyMetadata!.Arn}`;
    const failure = await fails(t, provider.describe(kek, LIVE), 'unreachable');
    t.regex(failure?.message ?? '', /is a key of spec RSA_2048 for SIGN_VERIFY; dekd needs SYMMETRIC_DEFAULT/);
    await fails(t, provider.wrap(kek, someDek(), context, LIVE), 'unreachable');
  },
  ['localstack'],
);

onCounterparts('an alias is refused at open with the ARN that it means', async (t, { admin, endpoint, arn }) => {
  const alias = `alias/${arn.slice(-12)}`;
  await admin.send(new CreateAliasCommand({ AliasName: alias, TargetKeyId: arn }));
  const reference = `aws-kms:${alias}`;
  const says = {
    name: 'DekdError',
    message: new RegExp(`^KEK ${reference} is an alias, .* today it means aws-kms:${arn}: write that$`),
  };
  const options = optionsFor(endpoint, { aliases: [reference] });
  await t.throwsAsync(async () => open({ ...options, region: 'eu-west-1' }, {}), says);
  await t.throwsAsync(async () => open(options, { AWS_REGION: 'eu-west-1' }), says);
  const whole = `aws-kms:${arn.replace(/:key\/.*/, `:${alias}`)}`;
  await t.throwsAsync(async () => open({ ...options, aliases: [whole] }, {}), {
    message: new RegExp(`today it means aws-kms:${arn}`),
  });
  await t.throwsAsync(async () => open(options, {}), {
    message: /write the key ARN that it means: aws kms describe-key/,
  });
  await t.throwsAsync(async () => open({ ...options, aliases: ['aws-kms:alias/nobody'], region: 'eu-west-1' }, {}), {
    message: /looking it up failed: describe with aws-kms:alias\/nobody: NotFoundException \(HTTP 400/,
  });
});

onCounterparts(
  'a call that is given up, and one after the end, is unreachable',
  async (t, { provider, kek, ...world }) => {
    const { wrapped, context } = world;
    const aborted = { signal: AbortSignal.abort(), fresh: false };
    const all = (call: typeof LIVE) => [
      provider.wrap(kek, someDek(), context, call),
      provider.unwrap(kek, wrapped, context, call),
      provider.describe(kek, call),
    ];
    for (const call of all(aborted)) await fails(t, call, 'unreachable');
    await provider.close();
    for (const call of all(LIVE)) await fails(t, call, 'unreachable');
    await provider.close();
  },
);

onCounterparts('addresses without TLS are a warning', async (t, { provider, endpoint }) => {
  t.deepEqual(provider.warnings, [`DEKs and credentials go to ${endpoint} without TLS; that is for tests`]);
});

test('one address without TLS for KMS and STS is one warning', async (t) => {
  const warningsOf = async (stsEndpoint: string) => {
    const provider = await open(optionsFor('http://127.0.0.1:1', { region: 'eu-west-1', stsEndpoint }), {});
    await provider.close();
    return provider.warnings;
  };
  const text = (address: string) => `DEKs and credentials go to ${address} without TLS; that is for tests`;
  t.deepEqual(await warningsOf('http://127.0.0.1:1'), [text('http://127.0.0.1:1')]);
  t.deepEqual(await warningsOf('http://127.0.0.1:2'), [text('http://127.0.0.1:1'), text('http://127.0.0.1:2')]);
});

test('an alias and no KMS in reach: the agent does not start, and says why', async (t) => {
  const options = optionsFor('http://127.0.0.1:1', { aliases: ['aws-kms:alias/orders'], region: 'eu-west-1' });
  await t.throwsAsync(async () => open(options, {}), {
    name: 'DekdError',
    message: /^KEK aws-kms:alias\/orders is an alias, .*\(looking it up failed: .*ECONNREFUSED\)\)$/,
  });
});
