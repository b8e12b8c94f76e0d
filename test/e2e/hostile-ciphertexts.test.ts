// A ciphertext is a request to spend money, and names the KEKs that could open it. What hostile ones make an agent call, counted by OpenBao.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import type { ExecutionContext } from 'ava';
import { type BlockRecipient, sealDekBlock } from '../../src/crypto/dek-block.ts';
import { envelopePrefix, sealMessage } from '../../src/crypto/envelope.ts';
import { createKey, dekId, freeKey, openArena } from '../../src/crypto/native.ts';
import { type OpenBao, requireOpenBao, startOpenBao } from '../counterparts/openbao/start.ts';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import { startCaller } from '../helpers/callers.ts';
import { childPids } from '../helpers/child-pids.ts';
import { callAtOnce } from '../helpers/many-callers.ts';
import { keyConfig, makePlace, type Place } from '../helpers/place.ts';
import { requireRoot } from '../helpers/require-root.ts';
import { test } from '../helpers/serial.ts';
import { startTcpProxy } from '../helpers/tcp-proxy.ts';
import { issueToken, makeKek, policyOf, succeeds, writePolicy } from '../upstream/vault-transit/world.ts';

const SERVICE = 'dekd.v1.KeyAgent';
const VICTIM = 21_001;
const FLOOD = 10_000;
/** Few enough that 10,000 ciphertexts need a hundred times as many. */
const PER_PRINCIPAL = { rate: 5, burst: 60 };
const INVALID = 'INVALID_CIPHERTEXT';

interface World {
  readonly bao: OpenBao;
  readonly place: Place;
  /** As /proc has the address that the agent calls. */
  readonly address: string;
  /** Names of keys of the mount `transit`: the KEK of `orders`, and one that nobody's key has. */
  readonly own: string;
  readonly foreign: string;
}

/** A place whose key `orders` is protected by OpenBao, with calls `delayMs` slow. */
async function world(t: ExecutionContext, delayMs = 0): Promise<World> {
  const bao = await startOpenBao({ audit: true });
  t.teardown(() => bao.stop());
  await succeeds(bao, 'POST', 'sys/mounts/transit', { type: 'transit' });
  const { name: own, kek } = await makeKek(bao);
  const { name: foreign } = await makeKek(bao);
  // That the agent may use the foreign one at OpenBao is no reason to call it.
  await writePolicy(bao, own, policyOf(own, foreign));
  const { file } = await issueToken(t, bao, own);
  const { port } = await startTcpProxy(t, new URL(bao.address), delayMs);
  const place = makePlace(t);
  chmodSync(place.directory, 0o755);
  place.configure({
    listen: { agent: { path: place.agentSocket, mode: '0666' }, admin: { path: place.adminSocket } },
    limits: { upstream_calls: { per_principal: PER_PRINCIPAL } },
    upstreams: {
      vault: { type: 'vault-transit', addresses: [`http://127.0.0.1:${port}`], login: { token: { file } } },
    },
    keys: {
      orders: keyConfig('orders', {
        recipients: [{ upstream: 'vault', kek, role: 'authority' }],
        partition_by: ['tenant'],
        allow: [process.getuid?.(), VICTIM].map((uid) => ({ uid, roles: ['user'] })),
      }),
    },
  });
  const address = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return { bao, place, address, own, foreign };
}

async function seal({ client }: Agent, tenant: string): Promise<Buffer> {
  const request = { key: 'orders', plaintext: Buffer.from(`of ${tenant}`), encryption_context: { tenant } };
  return (await client.call('Encrypt', request)).message.ciphertext;
}

/** How often OpenBao was asked to wrap or unwrap. */
function calls(bao: OpenBao): number {
  return bao.audited().filter((path) => /\/(encrypt|decrypt)\//.test(path)).length;
}

const TYPES = { 'aws-kms': 2, 'gcp-kms': 3, 'azure-keyvault': 4, 'vault-transit': 5, pkcs11: 6, local: 1 } as const;

/** A recipient as a ciphertext may name it. */
function recipient(kekUri: string, kekVersion = '1'): BlockRecipient {
  const type = TYPES[kekUri.slice(0, kekUri.indexOf(':')) as keyof typeof TYPES];
  return { type, wrapAlgorithm: 1, kekUri, kekVersion, wrapped: Buffer.from(`vault:v1:${'A'.repeat(80)}`) };
}

/** A ciphertext of an attacker's own DEK, in which everything but its recipients is right. */
function envelopeFor(...recipients: BlockRecipient[]): Buffer {
  const dek = createKey('dek');
  try {
    const facts = { createdMs: Date.now(), generation: 0, keyName: 'orders', partition: new Map([['tenant', 'acme']]) };
    const block = sealDekBlock({ ...facts, recipients }, dek);
    const prefix = envelopePrefix(1, dekId(dek), block);
    return sealMessage(dek, prefix, facts.partition, Buffer.alloc(0), Buffer.from('mine'));
  } finally {
    freeKey(dek);
  }
}

/** Where nobody should come: KEK references that lead there. */
function baits(host: string, { own, foreign }: World): string[] {
  const configured = `vault-transit:transit/keys/${own}`;
  return [
    `vault-transit:transit/keys/${foreign}`,
    'vault-transit:transit/keys/unknown',
    `vault-transit:other/keys/${own}`,
    `vault-transit:http://${host}/v1/transit/keys/${own}`,
    `vault-transit:http://${host}/transit/keys/${own}`,
    `vault-transit:${host}/transit/keys/${own}`,
    `vault-transit:@${host}/transit/keys/${own}`,
    `vault-transit:transit/keys/../../sys/seal`,
    `vault-transit:transit/keys/${own}/../${foreign}`,
    `${configured}/`,
    `${configured}?x`,
    `${configured}#x`,
    `${configured} `,
    `${configured}\n`,
    configured.toUpperCase().replace('VAULT-TRANSIT', 'vault-transit'),
    'aws-kms:arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    `aws-kms:arn:aws:kms:eu-west-1:111122223333:alias/http://${host}/`,
    `gcp-kms:https://${host}/projects/p/locations/l/keyRings/r/cryptoKeys/k`,
    `azure-keyvault:https://${host}/keys/k/0123456789abcdef0123456789abcdef`,
    `pkcs11:token=t;object=k?module-path=/proc/self/exe&pin-source=http://${host}/`,
    `local:0123456789abcdef/${own}`,
  ];
}

/** What is no envelope, or none that may be so long. */
function oversized(genuine: Buffer): Buffer[] {
  const header = genuine.subarray(0, 40);
  const block = (length: number): Buffer => Buffer.concat([header, Buffer.of(length >> 8, length & 0xff)]);
  return [
    Buffer.concat([block(0xffff), randomBytes(0x10_000)]),
    Buffer.concat([block(16_385), genuine.subarray(42), randomBytes(20_000)]),
    Buffer.concat([block(16_384), randomBytes(20_000)]),
    block(0xffff),
  ];
}

interface Decoy {
  readonly host: string;
  readonly connections: () => number;
}

async function startDecoy(t: ExecutionContext): Promise<Decoy> {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => void server.close());
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, connections: () => connections };
}

/** Remote ends of the TCP and UDP sockets that a process and its children have now: `hex address:hex port`. */
function remoteEnds(pid: number): string[] {
  return [pid, ...childPids(pid)].flatMap((one) => {
    const inodes = new Set(socketsOf(one));
    return ['tcp', 'tcp6', 'udp', 'udp6'].flatMap((protocol) =>
      readFileSync(`/proc/${one}/net/${protocol}`, 'utf8')
        .split('\n')
        .map((line) => line.trim().split(/\s+/))
        .filter((fields) => inodes.has(fields[9] ?? ''))
        .map((fields) => fields[2] ?? ''),
    );
  });
}

function socketsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
    } catch {
      // Closed since.
      return [];
    }
  });
}

/** Well-formed, naming the configured KEK, and nobody's; some name another recipient before it, some are long. */
function forge(genuine: Buffer, at: number, { own }: World, host: string): Buffer {
  const configured = recipient(`vault-transit:transit/keys/${own}`);
  if (at % 500 === 1) return envelopeFor(recipient(`vault-transit:http://${host}/transit/keys/${own}`), configured);
  if (at % 500 === 2) return envelopeFor(configured);
  const forged = at % 500 === 3 ? Buffer.concat([genuine, randomBytes(2 ** 20)]) : Buffer.from(genuine);
  randomBytes(32).copy(forged, 8);
  return forged;
}

/** Sends them over one connection, some at once, and more until `isEnough`; how many calls ended with each reason. */
async function flood(
  agent: Agent,
  ciphertext: (at: number) => Buffer,
  isEnough: () => boolean,
): Promise<Map<string, number>> {
  const reasons = new Map<string, number>();
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < FLOOD || !isEnough(); at = next++) {
      const request = { ciphertext: ciphertext(at), encryption_context: { tenant: 'acme' } };
      const { reason } = await agent.client.outcome('Decrypt', request);
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  return reasons;
}

test('hostile ciphertexts: no foreign address, no foreign KEK, no call beyond the quota; others’ misses go on', async (t) => {
  if (!requireOpenBao(t) || !requireRoot(t, 'its callers are processes of two users')) return;
  openArena({ size: 1 << 20, lock: 'best-effort' });
  const setUp = await world(t);
  const { bao, place, address } = setUp;
  const { host, connections } = await startDecoy(t);
  const first = await startAgent(t, place);
  const genuine = await seal(first, 'acme');
  const cold = await seal(first, 'victim');
  await first.stop();
  const agent = await startAgent(t, place);
  await seal(agent, 'first, which starts what there is to start');
  const before = calls(bao);

  const worthless = [...baits(host, setUp).map((uri) => envelopeFor(recipient(uri))), ...oversized(genuine)];
  for (const ciphertext of worthless) {
    const request = { ciphertext, encryption_context: { tenant: 'acme' } };
    t.is((await agent.client.failure('Decrypt', request)).reason, INVALID);
    t.is((await agent.client.failure('Rewrap', { ciphertext })).reason, INVALID);
  }
  t.is(calls(bao), before, 'what names no KEK of the key costs nothing');

  const ends = new Set<string>();
  const watch = setInterval(() => {
    for (const end of remoteEnds(agent.pid)) ends.add(end);
  }, 500);
  t.teardown(() => clearInterval(watch));
  const victim = startCaller({ caller: { uid: VICTIM }, sockets: { [SERVICE]: place.agentSocket } });
  t.teardown(() => victim.end());
  const startedAtMs = performance.now();
  let served = '';
  const flooding = flood(
    agent,
    (at) => forge(genuine, at, setUp, host),
    () => served !== '',
  );
  const request = { ciphertext: cold, encryption_context: { tenant: 'victim' } };
  // At the first try; on a machine so busy that an upstream call takes its second, at a later one.
  while (served === '') {
    const { reason, message } = await victim.call(SERVICE, 'Decrypt', request);
    t.not(reason, 'QUOTA_EXCEEDED');
    served = message?.plaintext.toString() ?? '';
  }
  t.is(served, 'of victim');
  const reasons = await flooding;
  const seconds = (performance.now() - startedAtMs) / 1_000;

  const made = calls(bao) - before - 1;
  // A call that got no answer in time is made again, 3 times at most in all; on an idle machine there is none.
  const unanswered = reasons.get('UPSTREAM_UNAVAILABLE') ?? 0;
  t.true(made <= PER_PRINCIPAL.burst + PER_PRINCIPAL.rate * seconds + 3 * unanswered, `${made} in ${seconds} s`);
  t.true(made >= PER_PRINCIPAL.burst / 2, 'it did try');
  t.true((reasons.get(INVALID) ?? 0) <= made);
  t.true([...reasons.keys()].every((reason) => [INVALID, 'QUOTA_EXCEEDED', 'UPSTREAM_UNAVAILABLE'].includes(reason)));
  t.is(connections(), 0, 'nobody came to the address that ciphertexts name');
  t.deepEqual([...ends], [address], 'nor to any other than the configured one');
  t.true(bao.audited().every((path) => !/\/(encrypt|decrypt)\//.test(path) || path.endsWith(`/${setUp.own}`)));
  const { message } = await agent.admin.call('GetStatus', {});
  t.is(Number(message.keys[0].counters.quota_refused), reasons.get('QUOTA_EXCEEDED') ?? 0);
  t.log(`${FLOOD} ciphertexts in ${seconds.toFixed(1)} s: ${made} calls`, Object.fromEntries(reasons));
});

test('1,000 concurrent first Decrypts of one cold DEK are one call at OpenBao; items of a batch pay each', async (t) => {
  if (!requireOpenBao(t)) return;
  const { bao, place } = await world(t, 150);
  const first = await startAgent(t, place);
  const ciphertext = await seal(first, 'acme');
  await first.stop();
  const agent = await startAgent(t, place);
  const before = calls(bao);
  const request = { ciphertext, encryption_context: { tenant: 'acme' } };
  const { succeeded, plaintexts, failures } = await callAtOnce(place.agentSocket, 'Decrypt', request, 1_000);
  t.deepEqual([succeeded, [...plaintexts], [...failures]], [1_000, ['of acme'], []]);
  t.is(calls(bao), before + 1);
  const { message } = await agent.admin.call('GetStatus', {});
  const { coalesced, decrypt_misses: misses, unwraps } = message.keys[0].counters;
  t.deepEqual([Number(unwraps), Number(misses) - Number(coalesced)], [1, 1]);
  t.true(Number(coalesced) >= 50, `${coalesced} waited for it`);
  t.log(`${coalesced} waited for one call`);

  // Each item of a batch that misses pays: two calls for a new DEK.
  const startedAtMs = performance.now();
  const items = Array.from({ length: 100 }, (_, at) => ({ key: 'orders', encryption_context: { tenant: `t${at}` } }));
  const { results } = (await agent.client.call('EncryptBatch', { items })).message;
  const made = calls(bao) - before - 1;
  const seconds = (performance.now() - startedAtMs) / 1_000;
  t.true(made <= PER_PRINCIPAL.burst - 1 + PER_PRINCIPAL.rate * seconds, `${made} in ${seconds} s`);
  const sealed = results.filter(({ response }: { response: object | null }) => response !== null).length;
  t.true(sealed > 0 && sealed <= made / 2, `${sealed} of ${made} calls`);
});
