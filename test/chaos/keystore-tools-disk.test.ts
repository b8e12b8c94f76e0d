import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openArena } from '../../src/crypto/native.ts';
import { openLocal } from '../../src/upstream/local/open.ts';
import { dekctl } from '../cli/run.ts';
import { startAgent } from '../helpers/agent-process.ts';
import { mountMemory, requireMounts } from '../helpers/mounts.ts';
import { makePlace, type Place } from '../helpers/place.ts';
import { test } from '../helpers/serial.ts';

function fill(disk: string): void {
  const { bavail, bsize } = statfsSync(disk);
  writeFileSync(join(disk, 'filler'), Buffer.alloc(bavail * bsize));
}

/** A closed store of some KEKs. */
async function makeStore(directory: string, { rootKeyFile }: Place): Promise<void> {
  openArena({ size: 65_536, lock: 'best-effort' });
  const upstream = await openLocal('store', { type: 'local', directory, rootKey: { file: rootKeyFile } });
  for (let number = 0; number < 40; number++) await upstream.createKek(`kek-${number}`, new Map(), 'uid 2001');
  await upstream.close();
}

test('a backup that does not fit leaves nothing', async (t) => {
  if (!requireMounts(t)) return;
  const disk = mountMemory(t, '64k');
  const place = makePlace(t);
  await startAgent(t, place);
  fill(disk.path);
  const out = join(disk.path, 'backup.db');
  const { code, stderr } = await dekctl(['keystore', 'backup', '--out', out, '--admin-socket', place.adminSocket]);
  t.is(code, 8);
  t.is(stderr, `dekctl: ${out}: no space left on the device\n`);
  t.deepEqual(readdirSync(disk.path), ['filler']);
});

test('a restore that does not fit leaves nothing, and works once there is room', async (t) => {
  if (!requireMounts(t)) return;
  const disk = mountMemory(t, '256k');
  const place = makePlace(t);
  const directory = join(place.directory, 'source');
  await makeStore(directory, place);
  fill(disk.path);
  const target = join(disk.path, 'keystore');
  const flags = ['--from', join(directory, 'keystore.db'), '--directory', target, '--root-key', place.rootKeyFile];
  const { code, stderr } = await dekctl(['keystore', 'restore', ...flags]);
  t.is(code, 6);
  t.is(stderr, `dekctl: keystore ${target}: the disk is full; free some space and try again\n`);
  t.deepEqual(readdirSync(target), []);
  rmSync(join(disk.path, 'filler'));
  t.is((await dekctl(['keystore', 'restore', ...flags])).code, 0);
});

test('a change of the root key that does not fit changes nothing, and works once there is room', async (t) => {
  if (!requireMounts(t)) return;
  const disk = mountMemory(t, '256k');
  const place = makePlace(t);
  const directory = join(disk.path, 'keystore');
  await makeStore(directory, place);
  const next = join(place.directory, 'next.key');
  writeFileSync(next, randomBytes(32), { mode: 0o600 });
  fill(disk.path);
  const before = readFileSync(join(directory, 'keystore.db'));
  const flags = ['--directory', directory, '--old-root-key', place.rootKeyFile, '--new-root-key', next];
  const { code, stderr } = await dekctl(['keystore', 'change-root-key', ...flags]);
  t.is(code, 6);
  t.is(stderr, `dekctl: keystore ${directory}: the disk is full; free some space and try again\n`);
  t.deepEqual(readFileSync(join(directory, 'keystore.db')), before);
  const check = (rootKey: string) => dekctl(['keystore', 'check', '--directory', directory, '--root-key', rootKey]);
  t.is((await check(place.rootKeyFile)).code, 0);
  t.is((await check(next)).code, 1);

  rmSync(join(disk.path, 'filler'));
  t.is((await dekctl(['keystore', 'change-root-key', ...flags])).code, 0);
  t.is((await check(next)).code, 0);
});

test('a check needs no room', async (t) => {
  if (!requireMounts(t)) return;
  const disk = mountMemory(t, '256k');
  const place = makePlace(t);
  const directory = join(disk.path, 'keystore');
  await makeStore(directory, place);
  fill(disk.path);
  disk.remount('ro');
  const args = ['keystore', 'check', '--directory', directory, '--root-key', place.rootKeyFile];
  t.is((await dekctl(args)).code, 0);
});
