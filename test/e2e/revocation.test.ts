// The kill switch with real counterparts: a KEK is disabled or deleted there, or a right taken away, while every DEK is in use.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CreateKeyCommand, DisableKeyCommand, EnableKeyCommand, ScheduleKeyDeletionCommand } from '@aws-sdk/client-kms';
import type { ExecutionContext } from 'ava';
import { startLocalStack } from '../counterparts/localstack/start.ts';
import { onDemand } from '../counterparts/on-demand.ts';
import { requireOpenBao, startOpenBao } from '../counterparts/openbao/start.ts';
import { aesKey, requireSoftHsm, startSoftHsm } from '../counterparts/softhsm/start.ts';
import { type Asked, type Interposed, startInterposer } from '../fakes/interposer.ts';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import { ContinuousUse, type Used, usesOf } from '../helpers/continuous-use.ts';
import { keyConfig, makePlace } from '../helpers/place.ts';
import { test } from '../helpers/serial.ts';
import { ANY_CREDENTIALS, adminClient, setEnvironment } from '../upstream/aws-kms/world.ts';
import { issueToken, makeKek, policyOf, succeeds, writePolicy } from '../upstream/vault-transit/world.ts';

const TTL_MS = 1_000;
/** From the revocation on, while the upstream answers (docs/architecture.md). */
const BOUND_MS = TTL_MS + 5_000;
/** To find out by how much the bound was missed. */
const PATIENCE_MS = 20_000;
const TENANTS = ['acme', 'globex'];

/** The agent inherits it, and gives its child what is AWS's of it. */
setEnvironment(ANY_CREDENTIALS);
const localStack = onDemand('localstack', startLocalStack);
// It takes seconds to start, in which other tests can run.
test.before(() => void localStack().catch(() => undefined));

/** One way of taking something away. */
interface Revocation {
  readonly what: string;
  readonly key: string;
  /** Default: all of the key's. */
  readonly tenants?: readonly string[];
  readonly act: () => Promise<unknown> | unknown;
  /** What callers are told in the end. */
  readonly reason: string;
  /** Default ttl + 5 s from its return on. 0: no call that begins later is served. */
  readonly boundMs?: number;
}

/** Keys with a KEK each, partitioned by tenant. */
function keys(upstream: string, keks: Readonly<Record<string, string>>): Record<string, unknown> {
  const settings = (kek: string) => ({
    recipients: [{ upstream, kek, role: 'authority' }],
    partition_by: ['tenant'],
    cache: { ttl: `${TTL_MS / 1000}s` },
  });
  return Object.fromEntries(Object.entries(keks).map(([name, kek]) => [name, keyConfig(name, settings(kek))]));
}

/** Uses every DEK of every key, then takes away, and measures until when each use is served. */
async function revoke(t: ExecutionContext, agent: Agent, revocations: readonly Revocation[]): Promise<void> {
  const names = [...new Set(revocations.map(({ key }) => key))];
  const idle = await Promise.all(revocations.map((revocation) => idleCiphertext(agent, revocation)));
  const uses = await Promise.all(names.map((key) => usesOf(agent, key, TENANTS)));
  const use = new ContinuousUse(agent.client, uses.flat());
  t.teardown(() => use.stop());
  await sleep(TTL_MS);
  const revoked = await Promise.all(
    revocations.map(async (revocation) => {
      await revocation.act();
      const sinceMs = performance.now();
      const mine = (used: Used): boolean => concerns(revocation, used);
      await use.untilRefused(mine, PATIENCE_MS);
      return { revocation, sinceMs, used: use.all.filter(mine) };
    }),
  );
  // Nothing comes back, and a DEK that was idle and is past its ttl does not serve either.
  await Promise.all(revocations.map(({ reason }, at) => refused(t, agent, idle[at] ?? {}, reason)));
  await sleep(TTL_MS);
  await use.stop();
  for (const one of revoked) report(t, one);
  await othersAreHeld(t, agent, revocations);
  const others = use.all.filter((used) => !revocations.some((revocation) => concerns(revocation, used)));
  t.deepEqual(
    others.flatMap(({ failures }) => failures),
    [],
  );
  if (others.length > 0) t.log(`meanwhile served without a failure: ${others.length} uses of other partitions`);
}

/** At once, or after no answer: on a busy machine a refusal may take longer to be confirmed than a call waits for that. Never served. */
async function refused(t: ExecutionContext, { client }: Agent, request: object, reason: string): Promise<void> {
  for (const end = performance.now() + PATIENCE_MS; ; await sleep(100)) {
    const outcome = await client.outcome('Decrypt', request);
    t.not(outcome.code, 0, 'a DEK that was idle serves');
    if (outcome.reason === reason) return;
    if (performance.now() > end) throw new Error(`${outcome.reason} in place of ${reason}`);
  }
}

function report(
  t: ExecutionContext,
  { revocation, sinceMs, used }: { revocation: Revocation; sinceMs: number; used: readonly Used[] },
): void {
  const { what, reason, boundMs = BOUND_MS } = revocation;
  const lastMs = Math.max(...used.map(({ lastServedMs, lastBegunMs }) => (boundMs === 0 ? lastBegunMs : lastServedMs)));
  const afterMs = Math.round(lastMs - sinceMs);
  const refusedMs = Math.round(Math.max(...used.map(({ refusedAtMs }) => refusedAtMs)) - sinceMs);
  t.log(
    `${what}: of ${used.length} uses the last was served ${afterMs} ms after it (bound ${boundMs} ms), the last refused after ${refusedMs} ms`,
  );
  t.true(afterMs <= boundMs, `${what}: ${afterMs} ms`);
  for (const { use, served, failures } of used) {
    t.true(served > 0, `${use.name} was never served`);
    t.true(
      failures.some((failure) => failure.startsWith(`${reason}: `)),
      `${use.name}: ${failures.at(-1)}`,
    );
  }
}

/** Where one tenant's right is taken, the DEKs of the others are not even unwrapped again: its own two are all that is zeroed. */
async function othersAreHeld(t: ExecutionContext, { admin }: Agent, revocations: readonly Revocation[]): Promise<void> {
  const { message } = await admin.call('GetStatus', {});
  for (const { key, tenants } of revocations) {
    if (tenants === undefined) continue;
    const status = message.keys.find((one: { key: string }) => one.key === key);
    t.is(status.counters.purged, String(2 * tenants.length), key);
  }
}

function concerns({ key, tenants }: Revocation, { use }: Used): boolean {
  const { name } = use;
  return name.includes(` of ${key}, `) && (tenants === undefined || tenants.some((tenant) => name.endsWith(tenant)));
}

/** Of a DEK that is used once and not again. Where one tenant's right is taken, it is that tenant's. */
async function idleCiphertext(
  { client }: Agent,
  { key, tenants: [tenant = 'idle'] = [] }: Revocation,
): Promise<object> {
  const encryption_context = { tenant };
  const { message } = await client.call('Encrypt', { key, plaintext: Buffer.from('idle'), encryption_context });
  return { ciphertext: message.ciphertext, encryption_context };
}

test('vault-transit, OpenBao: soft-deleted, permission removed, deleted', async (t) => {
  if (!requireOpenBao(t)) return;
  const bao = await startOpenBao();
  t.teardown(() => bao.stop());
  await succeeds(bao, 'POST', 'sys/mounts/transit', { type: 'transit' });
  const [soft, denied, deleted] = await Promise.all([makeKek(bao), makeKek(bao), makeKek(bao)]);
  await writePolicy(bao, 'dekd', policyOf(soft.name, denied.name, deleted.name));
  const { file } = await issueToken(t, bao, 'dekd');
  const upstreams = { vault: { type: 'vault-transit', addresses: [bao.address], login: { token: { file } } } };
  const place = makePlace(t, {
    upstreams,
    keys: keys('vault', { soft: soft.kek, denied: denied.kek, deleted: deleted.kek }),
  });
  const agent = await startAgent(t, place);
  await revoke(t, agent, [
    {
      what: 'KEK disabled (soft-deleted)',
      key: 'soft',
      act: () => succeeds(bao, 'DELETE', `transit/keys/${soft.name}/soft-delete`),
      reason: 'KEY_DISABLED',
    },
    {
      what: 'permission removed',
      key: 'denied',
      act: () => writePolicy(bao, 'dekd', policyOf(soft.name, deleted.name)),
      reason: 'UPSTREAM_REFUSED',
    },
    {
      what: 'key deleted',
      key: 'deleted',
      act: async () => {
        await succeeds(bao, 'POST', `transit/keys/${deleted.name}/config`, { deletion_allowed: true });
        await succeeds(bao, 'DELETE', `transit/keys/${deleted.name}`);
      },
      reason: 'UPSTREAM_REFUSED',
    },
  ]);
});

/** As AWS answers who has no right to the key, or not with that encryption context; LocalStack does not look at policies. */
const ACCESS_DENIED: Interposed = {
  status: 400,
  type: 'application/x-amz-json-1.1',
  body: JSON.stringify({ __type: 'AccessDeniedException', message: 'User is not authorized to perform this' }),
};

test('aws-kms, LocalStack: disabled, pending deletion, permission removed, one tenant’s permission removed', async (t) => {
  const service = await localStack(t);
  if (service === undefined) return;
  const admin = adminClient(service.endpoint);
  t.teardown(() => admin.destroy());
  const made = await Promise.all([1, 2, 3, 4].map(() => admin.send(new CreateKeyCommand({}))));
  const [disabled, deleted, denied, shared] = made.map(({ KeyMetadata }) => KeyMetadata?.Arn ?? '') as [
    string,
    string,
    string,
    string,
  ];
  const proxy = await startInterposer(t, { target: service.endpoint });
  const refuse = (refuses: (body: { KeyId?: string; EncryptionContext?: { tenant?: string } }) => boolean): void => {
    const { answer: before } = proxy;
    proxy.answer = (asked: Asked) => (refuses(JSON.parse(asked.body)) ? ACCESS_DENIED : before?.(asked));
  };
  const keks = { disabled, deleted, denied, shared };
  const uris = Object.fromEntries(Object.entries(keks).map(([name, arn]) => [name, `aws-kms:${arn}`]));
  const upstreams = { aws: { type: 'aws-kms', endpoint: `http://127.0.0.1:${proxy.port}`, region: 'eu-west-1' } };
  const agent = await startAgent(t, makePlace(t, { upstreams, keys: keys('aws', uris) }));
  await revoke(t, agent, [
    {
      what: 'KEK disabled',
      key: 'disabled',
      act: () => admin.send(new DisableKeyCommand({ KeyId: disabled })),
      reason: 'KEY_DISABLED',
    },
    {
      what: 'KEK scheduled for deletion',
      key: 'deleted',
      act: () => admin.send(new ScheduleKeyDeletionCommand({ KeyId: deleted, PendingWindowInDays: 7 })),
      reason: 'KEY_PENDING_DELETION',
    },
    {
      what: 'permission removed (AccessDeniedException by a proxy: LocalStack enforces no policy)',
      key: 'denied',
      act: () => refuse(({ KeyId }) => KeyId === denied),
      reason: 'UPSTREAM_REFUSED',
    },
    {
      what: 'one tenant’s permission removed (the same for its encryption context)',
      key: 'shared',
      tenants: ['acme'],
      act: () => refuse(({ KeyId, EncryptionContext }) => KeyId === shared && EncryptionContext?.tenant === 'acme'),
      reason: 'UPSTREAM_REFUSED',
    },
  ]);
  await admin.send(new EnableKeyCommand({ KeyId: disabled }));
  const request = { key: 'disabled', plaintext: Buffer.from('x'), encryption_context: { tenant: 'acme' } };
  for (const end = performance.now() + PATIENCE_MS; performance.now() < end; await sleep(100)) {
    const { code } = await agent.client.outcome('Encrypt', request);
    if (code === 0) return;
  }
  t.fail('a KEK that was enabled again does not serve');
});

test('pkcs11, SoftHSM: the key’s functions not permitted, the key destroyed', async (t) => {
  if (!requireSoftHsm(t)) return;
  t.log('permission removed: SoftHSM has no permissions but the PIN, and a PIN that is refused is an outage');
  const hsm = startSoftHsm();
  t.teardown(() => hsm.stop());
  const [token, pin] = ['hsm', 'correct horse'];
  hsm.initialize(token, pin);
  const all = ['ENCRYPT', 'DECRYPT', 'WRAP', 'UNWRAP'] as const;
  hsm.administer(token, pin, aesKey('disabled', all, '01'), aesKey('destroyed', all, '02'));
  const file = join(hsm.directory, 'pin');
  writeFileSync(file, pin, { mode: 0o600 });
  const uri = (object: string): string => `pkcs11:object=${object};token=${token}`;
  const upstreams = {
    hsm: { type: 'pkcs11', module_path: hsm.interposer, library_parameters: hsm.parameters, pin: { file } },
  };
  const keks = { disabled: uri('disabled'), destroyed: uri('destroyed') };
  const agent = await startAgent(t, makePlace(t, { upstreams, keys: keys('hsm', keks) }));
  await revoke(t, agent, [
    {
      what: 'KEK disabled (CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP false)',
      key: 'disabled',
      act: () =>
        hsm.administer(
          token,
          pin,
          ...all.map((attribute) => ({ do: 'change', label: 'disabled', attribute, value: false }) as const),
        ),
      reason: 'KEY_DISABLED',
    },
    {
      what: 'KEK destroyed',
      key: 'destroyed',
      act: () => hsm.administer(token, pin, { do: 'destroy', label: 'destroyed' }),
      reason: 'UPSTREAM_REFUSED',
    },
  ]);
});

test('local: disabled, scheduled for deletion, a partition disabled: from the answer on', async (t) => {
  const names = ['disabled', 'deleted', 'shared'];
  const keks = Object.fromEntries(names.map((name) => [name, `local:${name}`]));
  const agent = await startAgent(t, makePlace(t, { keys: keys('store', keks) }));
  const act = (rpc: string, request: object) => () => agent.admin.call(rpc, request);
  await revoke(t, agent, [
    {
      what: 'KEK disabled',
      key: 'disabled',
      act: act('DisableKey', { key: 'disabled' }),
      reason: 'KEY_DISABLED',
      boundMs: 0,
    },
    {
      what: 'KEK scheduled for deletion',
      key: 'deleted',
      act: act('ScheduleKeyDeletion', { key: 'deleted' }),
      reason: 'KEY_PENDING_DELETION',
      boundMs: 0,
    },
    {
      what: 'a partition disabled',
      key: 'shared',
      tenants: ['acme'],
      act: act('DisablePartition', { key: 'shared', partition: { tenant: 'acme' } }),
      reason: 'KEY_DISABLED',
      boundMs: 0,
    },
  ]);
});
