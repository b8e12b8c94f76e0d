import { chmodSync, chownSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import test from 'ava';
import {
  checkDatabaseFile,
  excessiveBits,
  makeDirectory,
  octal,
  prepareDirectory,
  syncDirectory,
} from '../../../src/upstream/local/directory.ts';
import { requireRoot } from '../../helpers/require-root.ts';
import { makePlace } from './fixture.ts';

test('directory and file are made private, whatever the umask', (t) => {
  const place = makePlace(t);
  t.is(prepareDirectory(place.directory), place.database);
  t.is(octal(statSync(place.directory)), '0700');
  t.is(octal(statSync(place.database)), '0600');
});

test('what is there is kept', (t) => {
  const place = makePlace(t);
  prepareDirectory(place.directory);
  writeFileSync(place.database, 'content');
  prepareDirectory(place.directory);
  t.is(statSync(place.database).size, 7);
});

test('what others can write is refused with the chmod', (t) => {
  const place = makePlace(t);
  mkdirSync(place.directory);
  for (const mode of [0o777, 0o1777, 0o702]) {
    chmodSync(place.directory, mode);
    t.throws(() => prepareDirectory(place.directory), {
      name: 'DekdError',
      message:
        `keystore ${place.directory}: others can write ${place.directory} ` +
        `(mode ${octal(statSync(place.directory))}); run: chmod go-w ${place.directory}`,
    });
  }
  chmodSync(place.directory, 0o755);
  prepareDirectory(place.directory);
  chmodSync(place.database, 0o606);
  t.throws(() => prepareDirectory(place.directory), { message: /others can write \S+keystore\.db \(mode 0606\)/ });
});

test("the group may write only what is root's, as Kubernetes fsGroup makes it", (t) => {
  const place = makePlace(t);
  mkdirSync(place.directory);
  chmodSync(place.directory, 0o2775);
  if (process.getuid?.() === 0) {
    t.is(prepareDirectory(place.directory), place.database);
    return;
  }
  t.throws(() => prepareDirectory(place.directory), { message: /others can write/ });
});

test('a directory or database of another user is refused with the chown', (t) => {
  if (!requireRoot(t, 'only root can give a file away')) return;
  for (const what of ['directory', 'database'] as const) {
    const place = makePlace(t);
    prepareDirectory(place.directory);
    chownSync(place[what], 4242, 4242);
    t.throws(() => prepareDirectory(place.directory), {
      name: 'DekdError',
      message: `keystore ${place.directory}: ${place[what]} belongs to uid 4242, neither to root nor to dekd's; run: chown 0 ${place[what]}`,
    });
  }
});

test('forbidden bits are those of the owner they belong to', (t) => {
  const place = makePlace(t);
  const stats = statSync(place.rootKeyFile);
  const file = (uid: number, mode: number) => Object.assign(Object.create(stats) as typeof stats, { uid, mode });
  t.is(excessiveBits(file(1000, 0o100600), 0o077, 0o037), 0);
  t.is(excessiveBits(file(1000, 0o100640), 0o077, 0o037), 0o040);
  t.is(excessiveBits(file(0, 0o100640), 0o077, 0o037), 0);
  t.is(excessiveBits(file(0, 0o100664), 0o077, 0o037), 0o024);
});

test('the directory alone can be made, and its names written to the disk', (t) => {
  const place = makePlace(t);
  makeDirectory(place.directory);
  t.is(octal(statSync(place.directory)), '0700');
  t.deepEqual(readdirSync(place.directory), []);
  t.notThrows(() => syncDirectory(place.directory));
  t.throws(() => syncDirectory(`${place.directory}/none`), { code: 'ENOENT' });
  t.throws(() => checkDatabaseFile(place.directory, place.database), { code: 'ENOENT' });
  writeFileSync(place.database, '', { mode: 0o600 });
  t.notThrows(() => checkDatabaseFile(place.directory, place.database));
  chmodSync(place.directory, 0o777);
  t.throws(() => makeDirectory(place.directory), { message: /others can write/ });
});
