// The proof that keys do not leak: with the keys in hand, recovered by other code, every readable page of the agent is searched for them.
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { type Agent, type AgentOptions, startAgent } from '../helpers/agent-process.ts';
import { keyConfig, makePlace, type Place } from '../helpers/place.ts';
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

const WHY = 'an agent is not dumpable, only root may read its memory';
const TENANTS = ['acme', 'bolt', 'core', 'dune'];
/** What the arena begins with: native/secmem.c. */
const ARENA_MAGIC = 'DEKDMEM';

test('no key is in readable memory, 1 s after Encrypt, Decrypt, GenerateDataKey, refresh, rotation and eviction', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { agent, scene } = await perform(t, {});
  t.is(scene.memoryKind, 'memfd_secret', 'this kernel has no memfd_secret: secret memory is readable by root here');
  const scan = scanMemory(agent.pid, allNeedles(scene));
  report(t, scan);
  t.deepEqual(places(scan), []);
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

test('control: a planted key is found, raw, in hex and in base64', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const place = makePlace(t);
  const key = randomBytes(32);
  const file = join(place.directory, 'planted');
  writeFileSync(file, key);
  const agent = await startAgent(t, place, { child: ['--plant', file] });
  const needles = keyNeedles('planted', key);
  const found = new Set(scanMemory(agent.pid, needles).findings.map(({ needle }) => needle));
  t.deepEqual(
    needles.map(({ name }) => name).filter((name) => !found.has(name)),
    [],
  );
  const absent = keyNeedles('never there', randomBytes(32));
  t.deepEqual(scanMemory(agent.pid, absent).findings, []);
});

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
async function perform(t: ExecutionContext, options: AgentOptions): Promise<{ agent: Agent; scene: Scene }> {
  const cache = { max_deks: 1, max_partitions: 1, ttl: '2s' };
  const place = makePlace(t, {
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
    scene: { ...recover(t, place, envelopes), dataKeys, memoryKind: memory.kind, heldDekIds: new Set(held) },
  };
}

interface AgentStatus {
  readonly memory: { readonly kind: string };
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

function allNeedles({ store, deks, subkeys, dataKeys }: Scene): Needle[] {
  const needles = [
    ...keyNeedles('root key', store.rootKey),
    ...keyNeedles('kek-wrap key', store.kekWrap),
    ...keyNeedles('record-mac key', store.recordMac),
    ...keyNeedles('root-key-id key', store.rootKeyId),
  ];
  for (const [name, dataKey] of dataKeys) needles.push(...keyNeedles(`data key of ${name}`, dataKey));
  for (const [name, kek] of store.keks) needles.push(...keyNeedles(`KEK ${name}`, kek));
  for (const [name, subkey] of subkeys) needles.push(...keyNeedles(`XAES key of a message of ${name}`, subkey));
  for (const [name, keys] of deks) {
    needles.push(...keyNeedles(`DEK of ${name}`, keys.dek), ...keyNeedles(`K_block of ${name}`, keys.blockKey));
    needles.push(...keyNeedles(`K_msg of ${name}`, keys.messageKey), ...keyNeedles(`K_data of ${name}`, keys.dataKey));
  }
  return needles;
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
