// The proof that keys do not leak: with the keys in hand, recovered by other code, every readable page of the agent is searched for them.
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { aesNeedles } from '../helpers/aes-schedule.ts';
import { type Agent, type AgentOptions, startAgent } from '../helpers/agent-process.ts';
import { keyConfig, makePlace, type Place } from '../helpers/place.ts';
import { grpcFrame, openRawCall } from '../helpers/raw-call.ts';
import {
  type DekKeys,
  messageSubkey,
  openWithKeys,
  recoverDek,
  recoverStore,
  type StoreKeys,
} from '../helpers/recover-keys.ts';
import { requireRoot } from '../helpers/require-root.ts';
import { keyNeedles, type Mapping, type Needle, type Scan, scanMemory } from '../helpers/scan-memory.ts';
import { test } from '../helpers/serial.ts';

const WHY = 'an agent is not dumpable, only root may read its memory';
/** A memory of 64 KiB holds some 170 DEKs in the clear. */
const MANY_TENANTS = 400;
const TENANTS = ['acme', 'bolt', 'core', 'dune'];
/** What the arena begins with: native/secmem.c. */
const ARENA_MAGIC = 'DEKDMEM';

test('no key, no round key and no hash key is in readable memory, 1 s after use and eviction, after a flush, and while it shuts down', async (t) => {
  t.timeout(300_000);
  if (!requireRoot(t, WHY)) return;
  const { agent, scene, place } = await perform(t, {});
  t.is(scene.memoryKind, 'memfd_secret', 'this kernel has no memfd_secret: secret memory is readable by root here');
  const needles = allNeedles(scene);
  const scan = scanMemory(agent.pid, needles);
  report(t, scan);
  t.deepEqual(places(scan), []);
  await flush(t, agent);
  t.deepEqual(places(scanMemory(agent.pid, needles)), [], 'after a flush');
  const end = await beginShutdown(agent, place);
  t.deepEqual(places(scanMemory(agent.pid, needles)), [], 'while it shuts down');
  await end(t);
  // The arena, and only the arena, is out of root's reach.
  t.deepEqual(
    scan.unreadable.map(({ path }) => path),
    ['/secretmem (deleted)'],
  );
});

test('nor is a development root key, whether it was just made or read', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const place = makePlace(t);
  const directory = join(place.directory, 'keystore');
  place.configure({ upstreams: { store: { type: 'local', directory, root_key: { development: true } } } });
  for (const when of ['made', 'read']) {
    const agent = await startAgent(t, place);
    await agent.client.call('Encrypt', { key: 'default' });
    await sleep(1_000);
    const store = recoverStore(place.database, readFileSync(join(directory, 'root.key')));
    const needles = [...keyNeedles('root key', store.rootKey), ...keyNeedles('kek-wrap key', store.kekWrap)];
    t.deepEqual(places(scanMemory(agent.pid, needles)), [], when);
    t.is((await agent.stop()).code, 0);
  }
});

test('control: in memory that root can read the same search finds the keys in the arena, and nowhere else', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { agent, scene } = await perform(t, { child: ['--ordinary-memory'] });
  t.is(scene.memoryKind, 'mlock');
  const scan = scanMemory(agent.pid, allNeedles(scene));
  report(t, scan);
  const arena = arenaOf(agent.pid, scan);
  t.deepEqual(scan.unreadable, []);
  t.deepEqual(
    places(scan).filter((place) => !place.endsWith(describe(arena))),
    [],
  );

  const found = new Set(scan.findings.map(({ needle }) => needle));
  const halves = (name: string) =>
    [`${name}, raw, first half`, `${name}, raw, second half`].map((half) => found.has(half));
  for (const [name, keys] of scene.deks) {
    const held = scene.heldDekIds.has(keys.dekId);
    for (const part of ['DEK', 'K_block', 'K_msg', 'K_data'])
      t.deepEqual(halves(`${part} of ${name}`), [held, held], `${part} of ${name}`);
  }
  t.true(
    [...scene.deks.values()].some(({ dekId }) => !scene.heldDekIds.has(dekId)),
    'nothing was evicted',
  );
  t.true(scene.heldDekIds.size > 0);
  t.deepEqual(halves('KEK default/1'), [true, true]);
  // Dropped once the store's keys are derived from it, and the slot zeroed.
  t.deepEqual(halves('root key'), [false, false]);
  t.is(scan.findings.length, new Set(scan.findings.map(({ needle }) => needle)).size, 'a key lies in two places');
});

test('nor is a key of the second tier, whose DEKs lie sealed in ordinary memory', async (t) => {
  t.timeout(300_000);
  if (!requireRoot(t, WHY)) return;
  const place = makePlace(t, {
    memory: { lock: 'required', size: '64KiB' },
    keys: { default: keyConfig('default', { partition_by: ['tenant'], cache: { max_partitions: MANY_TENANTS } }) },
  });
  const agent = await startAgent(t, place);
  const envelopes = new Map<string, Buffer>();
  const contextOf = (tenant: string) => ({ encryption_context: { tenant } });
  for (let number = 0; number < MANY_TENANTS; number++) {
    const tenant = `tenant-${number}`;
    const request = { key: 'default', plaintext: Buffer.from(tenant), ...contextOf(tenant) };
    envelopes.set(tenant, (await agent.client.call('Encrypt', request)).message.ciphertext);
  }
  for (const [tenant, ciphertext] of envelopes) {
    const { message } = await agent.client.call('Decrypt', { ciphertext, ...contextOf(tenant) });
    t.is(message.plaintext.toString(), tenant);
  }
  const { memory } = (await agent.admin.call('GetStatus', {})).message as AgentStatus;
  t.true(Number(memory.sealed) > MANY_TENANTS / 2, `${memory.sealed} sealed`);
  await sleep(1_000);
  const store = recoverStore(place.database, readFileSync(place.rootKeyFile));
  const needles = [...envelopes].flatMap(([tenant, envelope]) => {
    const keys = recoverDek(envelope, store);
    return dekNeedles(tenant, keys, messageSubkey(envelope, keys));
  });
  const scan = scanMemory(agent.pid, [...needles, ...storeNeedles(store)]);
  report(t, scan);
  t.deepEqual(places(scan), []);
  await flush(t, agent);
  t.deepEqual(places(scanMemory(agent.pid, needles)), [], 'after a flush');
});

test('control: of a living cipher of OpenSSL each round key and the hash key are found', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { agent, key } = await startWithKey(t, '--plant-cipher');
  const { findings } = scanMemory(agent.pid, aesNeedles('planted', key));
  const found = new Set(findings.map(({ needle }) => /^planted, (round key \d+|H)/.exec(needle)?.[1] ?? needle));
  t.log(`found as: ${[...new Set(findings.map(({ needle }) => needle))].join('; ')}`);
  const all = [...Array.from({ length: 13 }, (_, at) => `round key ${at + 2}`), 'H'];
  t.deepEqual(
    all.filter((name) => !found.has(name)),
    [],
  );
});

test('control: a planted key is found, raw, in hex and in base64', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { agent, key } = await startWithKey(t, '--plant');
  const needles = keyNeedles('planted', key);
  const found = new Set(scanMemory(agent.pid, needles).findings.map(({ needle }) => needle));
  t.deepEqual(
    needles.map(({ name }) => name).filter((name) => !found.has(name)),
    [],
  );
  const absent = keyNeedles('never there', randomBytes(32));
  t.deepEqual(scanMemory(agent.pid, absent).findings, []);
});

/** An agent that keeps a key of ours (agent-child.ts). */
async function startWithKey(
  t: ExecutionContext,
  how: '--plant' | '--plant-cipher',
): Promise<{ agent: Agent; key: Buffer }> {
  const place = makePlace(t);
  const key = randomBytes(32);
  const file = join(place.directory, 'planted');
  writeFileSync(file, key);
  return { agent: await startAgent(t, place, { child: [how, file] }), key };
}

interface Scene {
  readonly memoryKind: string;
  readonly store: StoreKeys;
  /** By where they come from. */
  readonly deks: ReadonlyMap<string, DekKeys>;
  readonly subkeys: ReadonlyMap<string, Buffer>;
  /** Handed out in the clear, and decrypted once more. */
  readonly dataKeys: ReadonlyMap<string, Buffer>;
  /** Held by the agent at the end. */
  readonly heldDekIds: ReadonlySet<string>;
}

/** An agent that has done everything that touches a key, and has been idle for a second since. */
async function perform(
  t: ExecutionContext,
  options: AgentOptions,
): Promise<{ agent: Agent; scene: Scene; place: Place }> {
  const cache = { max_deks: 1, max_partitions: 1, ttl: '2s' };
  const place = makePlace(t, {
    // A search takes its time, and the agent stands still meanwhile.
    drain: '120s',
    keys: {
      default: keyConfig('default', { partition_by: ['tenant'], cache }),
      once: keyConfig('once', { cache: { mode: 'none' } }),
      old: keyConfig('old'),
    },
  });
  const agent = await startAgent(t, place, options);
  const { envelopes, dataKeys } = await useKeys(t, agent);
  // Past 0.9 of ttl: what is held has been unwrapped a second time.
  await sleep(1_000);
  const encrypting = await agent.client.call('Encrypt', { key: 'old', plaintext: Buffer.from('before') });
  await agent.admin.call('RotateKey', { key: 'old' });
  const rotated = await agent.client.call('Encrypt', { key: 'old', plaintext: Buffer.from('after') });
  envelopes.set('old', encrypting.message.ciphertext).set('old, rotated', rotated.message.ciphertext);
  await sleep(1_000);
  const { memory, keys } = (await agent.admin.call('GetStatus', {})).message as AgentStatus;
  const held = keys.flatMap(({ deks }) => deks.map(({ dek_id }) => dek_id));
  return {
    agent,
    place,
    scene: { ...recover(t, place, envelopes), dataKeys, memoryKind: memory.kind, heldDekIds: new Set(held) },
  };
}

interface AgentStatus {
  readonly memory: { readonly kind: string; readonly sealed: string };
  readonly keys: readonly { readonly deks: readonly { readonly dek_id: string }[] }[];
}

/** More tenants than the caches hold, each through every data call; small and large messages. */
async function useKeys(t: ExecutionContext, { client }: Agent) {
  const envelopes = new Map<string, Buffer>();
  const dataKeys = new Map<string, Buffer>();
  for (const tenant of TENANTS) {
    const encryption_context = { tenant };
    const { message: encrypted } = await client.call('Encrypt', {
      key: 'default',
      plaintext: Buffer.from(tenant),
      encryption_context,
    });
    const large = { key: 'default', plaintext: Buffer.alloc(300_000, tenant), encryption_context };
    const { message: encryptedLarge } = await client.call('Encrypt', large);
    const { message: dataKey } = await client.call('GenerateDataKey', { key: 'default', encryption_context });
    await client.call('GenerateDataKeyWithoutPlaintext', { key: 'default', encryption_context });
    for (const { ciphertext } of [encrypted, encryptedLarge, dataKey]) {
      await client.call('Decrypt', { ciphertext, encryption_context });
    }
    envelopes.set(tenant, encrypted.ciphertext);
    dataKeys.set(tenant, dataKey.plaintext);
  }
  // Evicted by now: from the keystore into memory once more.
  const [first = ''] = TENANTS;
  const again = { ciphertext: envelopes.get(first), encryption_context: { tenant: first } };
  t.is((await client.call('Decrypt', again)).message.plaintext.toString(), first);
  const once = await client.call('Encrypt', { key: 'once', plaintext: Buffer.from('once') });
  await client.call('Decrypt', { ciphertext: once.message.ciphertext });
  envelopes.set('once', once.message.ciphertext);
  return { envelopes, dataKeys };
}

/** Every key, by code that is not the agent's, and the proof that they are the right ones: they open the envelopes. */
function recover(
  t: ExecutionContext,
  place: Place,
  envelopes: ReadonlyMap<string, Buffer>,
): Pick<Scene, 'store' | 'deks' | 'subkeys'> {
  const store = recoverStore(place.database, readFileSync(place.rootKeyFile));
  const deks = new Map<string, DekKeys>();
  const subkeys = new Map<string, Buffer>();
  const plaintexts: Readonly<Record<string, string>> = { old: 'before', 'old, rotated': 'after' };
  for (const [name, envelope] of envelopes) {
    const keys = recoverDek(envelope, store);
    const context: Record<string, string> = TENANTS.includes(name) ? { tenant: name } : {};
    t.is(openWithKeys(envelope, keys, context).toString(), plaintexts[name] ?? name);
    deks.set(name, keys);
    subkeys.set(name, messageSubkey(envelope, keys));
  }
  t.is(new Set([...deks.values()].map(({ dekId }) => dekId)).size, envelopes.size);
  return { store, deks, subkeys };
}

/** Every DEK that the agent holds is zeroed, and a second goes by. */
async function flush(t: ExecutionContext, { admin }: Agent): Promise<void> {
  await admin.call('FlushKeyring', {});
  await sleep(1_000);
  const { keys } = (await admin.call('GetStatus', {})).message as AgentStatus;
  t.deepEqual(
    keys.flatMap(({ deks }) => deks),
    [],
  );
}

/** The agent's end has begun and waits for a call, for a second. Returns what lets it come, which must be a good one. */
async function beginShutdown(agent: Agent, { agentSocket }: Place): Promise<(t: ExecutionContext) => Promise<void>> {
  const call = await openRawCall(agentSocket, '/dekd.v1.KeyAgent/Encrypt');
  const frame = grpcFrame(agent.client.definition['Encrypt']!.requestSerialize({ key: 'old' }));
  call.write(frame.subarray(0, -1));
  agent.kill('SIGTERM');
  await sleep(1_000);
  return async (t) => {
    t.true(agent.stderr().includes('"event":"stopping"') && !agent.stderr().includes('"event":"stopped"'));
    call.write(frame.subarray(-1));
    call.end();
    t.is((await call.finished()).status, '0');
    t.is((await agent.exit()).code, 0);
  };
}

function allNeedles({ store, deks, subkeys, dataKeys }: Scene): Needle[] {
  return [
    ...storeNeedles(store),
    ...[...dataKeys].flatMap(([name, dataKey]) => keyNeedles(`data key of ${name}`, dataKey)),
    ...[...deks].flatMap(([name, keys]) => dekNeedles(name, keys, subkeys.get(name)!)),
  ];
}

function storeNeedles(store: StoreKeys): Needle[] {
  const wrapping = [...store.wrapSubkeys].map(([name, key]): [string, Buffer] => [
    `XAES key of the wrap of ${name}`,
    key,
  ]);
  const keks = [...store.keks].map(([name, kek]): [string, Buffer] => [`KEK ${name}`, kek]);
  return [
    ...keyNeedles('root key', store.rootKey),
    ...keyNeedles('record-mac key', store.recordMac),
    ...keyNeedles('root-key-id key', store.rootKeyId),
    ...cipherNeedles([['kek-wrap key', store.kekWrap], ...keks, ...wrapping]),
  ];
}

function dekNeedles(name: string, keys: DekKeys, messageKey: Buffer): Needle[] {
  return [
    ...keyNeedles(`K_block of ${name}`, keys.blockKey),
    ...cipherNeedles([
      [`DEK of ${name}`, keys.dek],
      [`K_msg of ${name}`, keys.messageKey],
      [`K_data of ${name}`, keys.dataKey],
      [`XAES key of the wrap of the DEK of ${name}`, keys.wrapSubkey],
      [`XAES key of a message of ${name}`, messageKey],
    ]),
  ];
}

/** Keys of AES, and what it makes of them. */
function cipherNeedles(keys: readonly (readonly [name: string, key: Buffer])[]): Needle[] {
  return keys.flatMap(([name, key]) => [...keyNeedles(name, key), ...aesNeedles(name, key)]);
}

function arenaOf(pid: number, { findings }: Scan): Mapping {
  const arenas = new Set(
    scanMemory(pid, [{ name: 'arena', bytes: Buffer.from(ARENA_MAGIC) }])
      .findings.filter(({ address, mapping }) => address === mapping.start)
      .map(({ mapping }) => mapping),
  );
  const [arena] = arenas;
  if (arena === undefined || arenas.size > 1) throw new Error(`${arenas.size} arenas, ${findings.length} findings`);
  return arena;
}

function places({ findings }: Scan): string[] {
  return findings.map(({ needle, mapping }) => `${needle} in ${describe(mapping)}`);
}

function describe({ path, permissions, start, end }: Mapping): string {
  return `${path || 'anonymous memory'} ${permissions} at ${start.toString(16)}, ${end - start} bytes`;
}

function report(t: ExecutionContext, { scannedBytes, findings }: Scan): void {
  t.log(`${(scannedBytes / 2 ** 20).toFixed(0)} MiB searched, ${findings.length} findings`);
}
