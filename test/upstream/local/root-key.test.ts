import { spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { freeKey, hmac } from '../../../src/crypto/native.ts';
import { openRootKey } from '../../../src/upstream/local/root-key.ts';
import { RAW, type RootKeyKdf } from '../../../src/upstream/local/root-key-kdf.ts';
import { makePlace, type Place, runChild } from './fixture.ts';

const openFor = ({ directory, options }: Place, isNew: boolean, kdf: RootKeyKdf = RAW) =>
  openRootKey(options.rootKey, { directory, kdf, isNew });

/** The slot holds the file's bytes: both give the same HMAC. */
function holds(t: ExecutionContext, place: Place, file: string, storeIsNew = true): void {
  const handle = openFor(place, storeIsNew);
  const message = Buffer.from('message');
  t.deepEqual(hmac(handle, message), createHmac('sha256', readFileSync(file)).update(message).digest());
  freeKey(handle);
}

function refused(t: ExecutionContext, place: Place, message: string | RegExp, storeIsNew = true): void {
  const error = t.throws(() => openFor(place, storeIsNew), { name: 'DekdError', message });
  t.is((error as unknown as { reason: string }).reason, 'INVALID_REQUEST');
}

test('a file of 32 bytes is read into secret memory', (t) => {
  const place = makePlace(t);
  holds(t, place, place.rootKeyFile);
  chmodSync(place.rootKeyFile, 0o400);
  holds(t, place, place.rootKeyFile);
});

test('symbolic links are followed, as Kubernetes mounts secrets', (t) => {
  const place = makePlace(t);
  const parent = dirname(place.rootKeyFile);
  mkdirSync(join(parent, '..2026'));
  const target = join(parent, '..2026', 'root.key');
  writeFileSync(target, Buffer.alloc(32, 7), { mode: 0o400 });
  symlinkSync('..2026', join(parent, '..data'));
  rmSync(place.rootKeyFile);
  symlinkSync('..data/root.key', place.rootKeyFile);
  holds(t, place, target);
});

for (const length of [0, 31, 33, 64]) {
  test(`a file of ${length} bytes is refused`, (t) => {
    const place = makePlace(t);
    writeFileSync(place.rootKeyFile, Buffer.alloc(length, 1));
    const file = place.rootKeyFile;
    const problem = `root key ${file}: must have exactly 32 bytes and has ${length}; `;
    refused(t, place, `${problem}make one with: head -c 32 /dev/urandom > ${file} && chmod 600 ${file}`);
    refused(
      t,
      place,
      `${problem}put back the root key that the store was made with: nothing else opens its KEKs`,
      false,
    );
  });
}

test('the command that a message gives makes a root key', (t) => {
  const place = makePlace(t);
  rmSync(place.rootKeyFile);
  const error = t.throws(() => openFor(place, true), { message: /does not exist; make one with: / });
  const command = error!.message.split('make one with: ')[1]!;
  t.is(spawnSync('sh', ['-c', command]).status, 0);
  holds(t, place, place.rootKeyFile);
});

test('a missing root key of an existing store is not to be made anew', (t) => {
  const place = makePlace(t);
  rmSync(place.rootKeyFile);
  refused(t, place, /does not exist; put back the root key that the store was made with/, false);
});

test('a file that others can read or write is refused with the chmod', (t) => {
  const place = makePlace(t);
  for (const mode of [0o644, 0o604, 0o602, 0o660, 0o620, 0o601]) {
    chmodSync(place.rootKeyFile, mode);
    const text = `mode 0${mode.toString(8)}`;
    refused(
      t,
      place,
      `root key ${place.rootKeyFile}: can be read or written by others (${text}); run: chmod 600 ${place.rootKeyFile}`,
    );
  }
});

test('only where root owns it may the group read it, as Kubernetes fsGroup makes it', (t) => {
  const place = makePlace(t);
  chmodSync(place.rootKeyFile, 0o440);
  if (process.getuid?.() !== 0) return refused(t, place, /can be read or written by others \(mode 0440\)/);
  holds(t, place, place.rootKeyFile);
  chownSync(place.rootKeyFile, 65534, 65534);
  refused(t, place, /belongs to uid 65534, who can read it; run: chown 0 \S+/);
  chmodSync(place.rootKeyFile, 0o600);
  refused(t, place, /belongs to uid 65534/);
});

test('directories and pipes are refused, without waiting for a writer', (t) => {
  const place = makePlace(t);
  rmSync(place.rootKeyFile);
  mkdirSync(place.rootKeyFile);
  refused(t, place, /is not a regular file; make one with/);
  rmSync(place.rootKeyFile, { recursive: true });
  t.is(spawnSync('mkfifo', ['-m', '600', place.rootKeyFile]).status, 0);
  refused(t, place, /is not a regular file/);
});

test('a file that this user cannot open is refused with the user', (t) => {
  const place = makePlace(t);
  mkdirSync(place.directory, { mode: 0o700 });
  if (process.getuid?.() === 0) {
    chownSync(place.directory, 65534, 65534);
    chmodSync(dirname(place.directory), 0o755);
  } else chmodSync(place.rootKeyFile, 0);
  const message = String(runChild('open as nobody', place.options));
  t.regex(message, /^upstream store: root key \S+: cannot be opened by uid \d+ \(EACCES\); make that user its owner/);
});

test('a development root key is made with a new store, once, and never for an existing one', (t) => {
  const place = makePlace(t);
  mkdirSync(place.directory, { mode: 0o700 });
  const development: Place = { ...place, options: { ...place.options, rootKey: { development: true } } };
  const file = join(place.directory, 'root.key');
  refused(
    t,
    development,
    `root key ${file}: does not exist; put back the root key that the store was made with: nothing else opens its KEKs`,
    false,
  );
  t.deepEqual(readdirSync(place.directory), []);

  // What a crash left of an earlier attempt is no obstacle.
  writeFileSync(`${file}.new`, 'half');
  holds(t, development, file);
  const key = readFileSync(file);
  t.is(key.length, 32);
  t.true(new Set(key).size > 8);
  t.is(statSync(file).mode & 0o777, 0o600);
  t.deepEqual(readdirSync(place.directory), ['root.key']);

  holds(t, development, file);
  holds(t, development, file, false);
  t.deepEqual(readFileSync(file), key);

  chmodSync(file, 0o644);
  refused(t, development, /can be read or written by others \(mode 0644\); run: chmod 600/);
});
