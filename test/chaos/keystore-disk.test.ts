import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { openArena } from '../../src/crypto/native.ts';
import { checkKeystore } from '../../src/upstream/local/check.ts';
import { type Agent, runAgent, startAgent } from '../helpers/agent-process.ts';
import { FileSystem, mountMemory, requireMounts } from '../helpers/mounts.ts';
import { makePlace, type Place } from '../helpers/place.ts';
import { test } from '../helpers/serial.ts';

const UNAVAILABLE = 14;
const CONTEXT = { tenant: 'acme' };
/** 16 KiB in the store. */
const LARGE_LABELS = Object.fromEntries(Array.from({ length: 64 }, (_, index) => [`label-${index}`, 'x'.repeat(250)]));

test('a full disk: changes are refused, reading goes on, and after room was made changes are taken again', async (t) => {
  if (!requireMounts(t)) return;
  const disk = mountMemory(t, '512k');
  const place = placeOn(t, disk.path);
  const agent = await startAgent(t, place);
  const ciphertext = await encrypted(agent);
  const filler = join(disk.path, 'filler');
  fill(disk.path, filler);
  const { made, refused } = await createUntilRefused(agent);
  t.is(refused.code, UNAVAILABLE);
  t.is(refused.reason, 'UPSTREAM_UNAVAILABLE');
  t.regex(refused.message, /keystore \S+: nothing was changed: the disk is full; free some space and try again/);
  await readingGoesOn(t, agent, ciphertext);
  t.deepEqual(await kekNames(agent), ['default', ...made].sort());

  rmSync(filler);
  await agent.admin.call('CreateKey', { key: 'after', labels: LARGE_LABELS });
  await agent.admin.call('RotateKey', { key: 'default' });
  t.is((await agent.stop()).code, 0);
  const names = ['after', 'default', ...made].sort();
  sound(t, place, names);
  const next = await startAgent(t, place);
  t.deepEqual(await kekNames(next), names);
  await readingGoesOn(t, next, ciphertext);
});

test('a disk that becomes read-only: the same, until it is repaired', async (t) => {
  if (!requireMounts(t)) return;
  const disk = new FileSystem(t);
  const place = placeOn(t, disk.path);
  const agent = await startAgent(t, place);
  const ciphertext = await encrypted(agent);
  await agent.admin.call('CreateKey', { key: 'before' });
  disk.remount('abort');
  for (const [rpc, request] of [
    ['CreateKey', { key: 'during' }],
    ['RotateKey', { key: 'default' }],
    ['DisableKey', { key: 'default' }],
  ] as const) {
    const refused = await agent.admin.failure(rpc, request);
    t.is(refused.code, UNAVAILABLE, rpc);
    t.regex(refused.message, /keystore \S+: nothing was changed: /, rpc);
  }
  await readingGoesOn(t, agent, ciphertext);
  t.deepEqual(await kekNames(agent), ['before', 'default']);
  t.is((await agent.stop()).code, 0);

  disk.repair();
  sound(t, place, ['before', 'default']);
  const next = await startAgent(t, place);
  await readingGoesOn(t, next, ciphertext);
  await next.admin.call('CreateKey', { key: 'after' });
  t.deepEqual(await kekNames(next), ['after', 'before', 'default']);
});

test('a start on a read-only disk is refused in one line; a check is not', async (t) => {
  if (!requireMounts(t)) return;
  const disk = mountMemory(t, '1m');
  const place = placeOn(t, disk.path);
  t.is((await (await startAgent(t, place)).stop()).code, 0);
  disk.remount('ro');
  const { code, stderr } = await runAgent(t, place);
  t.is(code, 1);
  t.regex(stderr, /^dekd: .*keystore \S+: cannot be written by uid 0 \(EROFS\); mount it read-write/m);
  sound(t, place, ['default']);
  disk.remount('rw');
  await startAgent(t, place);
});

/** An agent whose keystore lies on that disk, and nothing else of it. */
function placeOn(t: ExecutionContext, disk: string): Place {
  const place = makePlace(t);
  const store = {
    type: 'local',
    directory: join(disk, 'keystore'),
    root_key: { file: place.rootKeyFile },
    durable: true,
  };
  place.configure({ upstreams: { store } });
  return { ...place, database: join(disk, 'keystore', 'keystore.db') };
}

/** Writes until nothing more fits. */
function fill(disk: string, file: string): void {
  const { bavail, bsize } = statfsSync(disk);
  writeFileSync(file, Buffer.alloc(bavail * bsize));
}

async function encrypted({ client }: Agent): Promise<Buffer> {
  const plaintext = Buffer.from('hello');
  return (await client.call('Encrypt', { key: 'default', plaintext, encryption_context: CONTEXT })).message.ciphertext;
}

/** What is in memory, and what only the store's KEK opens. */
async function readingGoesOn(t: ExecutionContext, { client, admin }: Agent, ciphertext: Buffer): Promise<void> {
  const request = { ciphertext, encryption_context: CONTEXT };
  t.is((await client.call('Decrypt', request)).message.plaintext.toString(), 'hello');
  await admin.call('FlushKeyring', { key: 'default' });
  t.is((await client.call('Decrypt', request)).message.plaintext.toString(), 'hello');
  await client.call('Encrypt', { key: 'default', plaintext: Buffer.from('more') });
}

/** A few fit into pages that the store and its journal have already. */
async function createUntilRefused({ admin }: Agent) {
  const made: string[] = [];
  for (;;) {
    const key = `large-${made.length}`;
    const request = { key, labels: LARGE_LABELS };
    const { code } = await admin.outcome('CreateKey', request);
    if (code !== 0 || made.length > 30) return { made, refused: await admin.failure('CreateKey', request) };
    made.push(key);
  }
}

async function kekNames({ admin }: Agent): Promise<string[]> {
  const { keys } = (await admin.call('ListKeys', {})).message;
  return keys.map(({ key }: { key: string }) => key).sort();
}

function sound(t: ExecutionContext, place: Place, names: readonly string[]): void {
  openArena({ size: 65_536, lock: 'best-effort' });
  const report = checkKeystore(join(place.database, '..'), { file: place.rootKeyFile });
  t.deepEqual(report.damages, []);
  t.deepEqual(
    report.keks.map(({ name }) => name),
    names,
  );
}
