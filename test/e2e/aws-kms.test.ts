import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  CreateAliasCommand,
  CreateKeyCommand,
  DecryptCommand,
  type KMSClient,
  RotateKeyOnDemandCommand,
} from '@aws-sdk/client-kms';
import type { ExecutionContext } from 'ava';
import { installation, missing } from '../counterparts/counterpart.ts';
import { startLocalStack } from '../counterparts/localstack/start.ts';
import { onDemand } from '../counterparts/on-demand.ts';
import { ROOT, runAgent, startAgent } from '../helpers/agent-process.ts';
import { childPids } from '../helpers/child-pids.ts';
import { eventually } from '../helpers/eventually.ts';
import { callAtOnce } from '../helpers/many-callers.ts';
import { keyConfig, makePlace, type Place } from '../helpers/place.ts';
import { requireRoot } from '../helpers/require-root.ts';
import { keyNeedles, type Needle, scanMemory } from '../helpers/scan-memory.ts';
import { test } from '../helpers/serial.ts';
import { startTcpProxy } from '../helpers/tcp-proxy.ts';
import { ANY_CREDENTIALS, adminClient, setEnvironment } from '../upstream/aws-kms/world.ts';
import { decrypt, encrypt, opening } from './orders.ts';

// The agent inherits it, and gives its child what is AWS's of it.
setEnvironment(ANY_CREDENTIALS);

const localStack = onDemand('localstack', startLocalStack);

interface World {
  readonly endpoint: string;
  readonly pid: number;
  readonly admin: KMSClient;
  readonly arn: string;
  readonly place: Place;
}

/** A place whose only key is protected by KMS. */
async function world(t: ExecutionContext, cache: object = {}, kek?: string): Promise<World | undefined> {
  const service = await localStack(t);
  if (service === undefined) return undefined;
  const { endpoint, pid } = service;
  const admin = adminClient(endpoint);
  t.teardown(() => admin.destroy());
  const { KeyMetadata } = await admin.send(new CreateKeyCommand({}));
  const arn = KeyMetadata!.Arn!;
  const recipients = [{ upstream: 'aws', kek: `aws-kms:${kek ?? arn}`, role: 'authority' }];
  const place = makePlace(t, {
    upstreams: { aws: { type: 'aws-kms', endpoint, region: 'eu-west-1' } },
    keys: { orders: keyConfig('orders', { recipients, cache, partition_by: ['tenant'] }) },
  });
  return { endpoint, pid, admin, arn, place };
}

test('what one agent encrypts, the next one opens; a rotation between them', async (t) => {
  const found = await world(t);
  if (found === undefined) return;
  const { place, admin, arn } = found;
  const agent = await startAgent(t, place);
  const ciphertext = await encrypt(agent, 'yesterday');
  t.is(await decrypt(agent, ciphertext), 'yesterday');
  t.is((await agent.stop()).code, 0);
  await admin.send(new RotateKeyOnDemandCommand({ KeyId: arn }));
  const next = await startAgent(t, place);
  t.is(await decrypt(next, ciphertext), 'yesterday');
  const { message } = await next.admin.call('DescribeKey', { key: 'orders' });
  t.true(JSON.stringify(message).includes(`aws-kms:${arn}`));
});

test('1,000 concurrent first Decrypts of one cold DEK are one call at KMS', async (t) => {
  const found = await world(t);
  if (found === undefined) return;
  const { place, endpoint, arn } = found;
  const first = await startAgent(t, place);
  const ciphertext = await encrypt(first, 'cold');
  await first.stop();
  const proxy = await startTcpProxy(t, new URL(endpoint), 150);
  const recipients = [{ upstream: 'aws', kek: `aws-kms:${arn}`, role: 'authority' }];
  place.configure({
    upstreams: { aws: { type: 'aws-kms', endpoint: `http://127.0.0.1:${proxy.port}`, region: 'eu-west-1' } },
    keys: { orders: keyConfig('orders', { recipients }) },
  });
  await startAgent(t, place);
  const { succeeded, plaintexts, failures } = await callAtOnce(
    place.agentSocket,
    'Decrypt',
    opening(ciphertext),
    1_000,
  );
  t.deepEqual([succeeded, [...plaintexts], [...failures]], [1_000, ['cold'], []]);
  t.deepEqual(proxy.sent().match(/TrentService\.\w+/gi), ['TrentService.Decrypt']);
});

test('an outage: what is cached serves, a restarted agent starts and says what it lacks, and all heals', async (t) => {
  const found = await world(t);
  if (found === undefined) return;
  const { place, pid } = found;
  const agent = await startAgent(t, place);
  const ciphertext = await encrypt(agent, 'cached');
  process.kill(pid, 'SIGSTOP');
  try {
    t.is(await decrypt(agent, ciphertext), 'cached');
    await agent.stop();
    const next = await startAgent(t, place);
    const { reason } = await next.client.failure('Decrypt', opening(ciphertext));
    t.is(reason, 'UPSTREAM_UNAVAILABLE');
    process.kill(pid, 'SIGCONT');
    t.is(await eventually(() => decrypt(next, ciphertext)), 'cached');
  } finally {
    process.kill(pid, 'SIGCONT');
  }
});

test('of the DEKs no copy is in the agent; what is left in its children is told', async (t) => {
  const found = await world(t, {}, undefined);
  if (found === undefined || !requireRoot(t, 'only root may read their memory')) return;
  const { place, admin, arn } = found;
  const agent = await startAgent(t, place);
  const needles: Needle[] = [];
  for (let tenant = 0; tenant < 20; tenant++) {
    const context = { tenant: `t${tenant}` };
    const request = { key: 'orders', plaintext: Buffer.from('x'), encryption_context: context };
    const { ciphertext } = (await agent.client.call('Encrypt', request)).message;
    needles.push(...keyNeedles(`${tenant}`, await dekOf(admin, arn, ciphertext, context)));
  }
  // The agent last: it stands still while it is searched, and a child that starts then would be late.
  const left = childPids(agent.pid).flatMap((pid) => scanMemory(pid, needles).findings);
  t.deepEqual(scanMemory(agent.pid, needles).findings, []);
  t.log(`left in the children of 20 DEKs: ${left.length} copies in base64`);
  // The SDK makes base64 text of them, which nobody can zero: only as text may they be there.
  t.true(left.every(({ needle }) => needle.includes('base64')));
});

/** By KMS itself. */
async function dekOf(
  admin: KMSClient,
  arn: string,
  envelope: Buffer,
  partition: Record<string, string>,
): Promise<Buffer> {
  const EncryptionContext = { ...partition, 'dekd:key': 'orders', 'dekd:id': envelope.subarray(8, 40).toString('hex') };
  const from = envelope.indexOf(arn) + arn.length + 2;
  const length = envelope.readUInt16BE(from);
  const CiphertextBlob = envelope.subarray(from + 2, from + 2 + length);
  const { Plaintext } = await admin.send(new DecryptCommand({ KeyId: arn, CiphertextBlob, EncryptionContext }));
  return Buffer.from(Plaintext!);
}

test('an agent does not start with an alias, and says what it means', async (t) => {
  const found = await world(t, {}, 'alias/orders');
  if (found === undefined) return;
  const { place, admin, arn } = found;
  await admin.send(new CreateAliasCommand({ AliasName: 'alias/orders', TargetKeyId: arn }));
  const exit = await runAgent(t, place);
  t.not(exit.code, 0);
  t.true(
    exit.stderr.includes(
      `KEK aws-kms:alias/orders is an alias, which may mean another key tomorrow; today it means aws-kms:${arn}: write that`,
    ),
    exit.stderr,
  );
});

test('an envelope opens with tools/unwrap_aws_kms.py and nothing of dekd', async (t) => {
  const found = await world(t);
  if (found === undefined) return;
  const python = boto(t);
  if (python === undefined) return;
  const agent = await startAgent(t, found.place);
  const file = join(found.place.directory, 'envelope');
  writeFileSync(file, await encrypt(agent, 'without dekd'));
  const script = join(ROOT, 'tools', 'unwrap_aws_kms.py');
  const opened = execFileSync(python, [script, file, '--context', 'tenant=acme', '--endpoint', found.endpoint]);
  t.is(opened.toString(), 'without dekd');
  const fails = (context: string, endpoint: string, line: RegExp): void => {
    const args = [script, file, '--context', context, '--endpoint', endpoint];
    const end = spawnSync(python, args, { encoding: 'utf8' });
    t.like(end, { status: 1, stdout: '' });
    t.regex(end.stderr, line);
  };
  fails('tenant=umbrella', found.endpoint, /^\S+envelope: refused, unauthentic: .*context.*\n$/);
  fails('tenant=acme', 'nowhere', /^\S+envelope: ValueError: Invalid endpoint: nowhere\n$/);
});

/** moto's environment has boto3 and cryptography. */
function boto(t: ExecutionContext): string | undefined {
  const directory = installation('moto');
  if (directory === undefined) missing(t, 'moto');
  return directory === undefined ? undefined : join(directory, 'bin', 'python');
}
