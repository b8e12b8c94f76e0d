import { spawnSync } from 'node:child_process';
import { createHmac, scryptSync } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { freeKey, hmac } from '../../../src/crypto/native.ts';
import { openRootKey } from '../../../src/upstream/local/root-key.ts';
import { RAW, type RootKeyKdf } from '../../../src/upstream/local/root-key-kdf.ts';
import { makePlace, openPlace, type Place, runChild } from './fixture.ts';

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

  holds(t, development, file);
  const key = readFileSync(file);
  t.deepEqual(readdirSync(place.directory), ['root.key']);
  holds(t, development, file);
  holds(t, development, file, false);
  t.deepEqual(readFileSync(file), key);

  chmodSync(file, 0o644);
  refused(t, development, /can be read or written by others \(mode 0644\); run: chmod 600/);
});

const SALT = Buffer.alloc(16, 7);
const SCRYPT: RootKeyKdf = { rootKeyKdf: 'scrypt', rootKeyParams: Buffer.concat([SALT, Buffer.of(17, 8, 1)]) };

function withPassphrase(t: ExecutionContext, passphrase: string | Uint8Array): Place {
  const place = makePlace(t);
  const file = `${place.rootKeyFile}.passphrase`;
  writeFileSync(file, passphrase, { mode: 0o600 });
  return { ...place, options: { ...place.options, rootKey: { passphrase: { file } } } };
}

test('a passphrase becomes the key that scrypt of RFC 7914 makes of it, without the line feed', (t) => {
  const message = Buffer.from('message');
  const key = scryptSync('correct horse', SALT, 32, { N: 2 ** 17, r: 8, p: 1, maxmem: 2 ** 28 });
  const expected = createHmac('sha256', key).update(message).digest();
  for (const text of ['correct horse', 'correct horse\n']) {
    const handle = openFor(withPassphrase(t, text), false, SCRYPT);
    t.deepEqual(hmac(handle, message), expected, text);
    freeKey(handle);
  }
});

test('a passphrase has 8 to 1,024 bytes', (t) => {
  for (const text of ['', 'seven b', 'seven b\n', 'x'.repeat(1025), 'x'.repeat(5000)]) {
    const place = withPassphrase(t, text);
    t.throws(() => openFor(place, true, SCRYPT), {
      name: 'DekdError',
      message: /^passphrase \S+: must have 8 to 1024 bytes, and at most one line feed behind them$/,
    });
  }
  freeKey(openFor(withPassphrase(t, `${'x'.repeat(1024)}\n`), true, SCRYPT));
});

test('a missing passphrase is told apart for a new store and for one that needs a certain one', (t) => {
  const place = withPassphrase(t, 'correct horse');
  const { file } = (place.options.rootKey as { passphrase: { file: string } }).passphrase;
  rmSync(file);
  t.throws(() => openFor(place, true, SCRYPT), {
    message: `passphrase ${file}: does not exist; write the passphrase into it, then: chmod 600 ${file}`,
  });
  t.throws(() => openFor(place, false, SCRYPT), {
    message: `passphrase ${file}: does not exist; put back the passphrase that the store was made with: nothing else opens its KEKs`,
  });
});

test('raw bytes for a store with a passphrase, and the reverse, are refused', (t) => {
  const place = makePlace(t);
  const { directory, rootKeyFile } = place;
  const raw = `root key ${rootKeyFile}: is not what opens the keystore ${directory}: its root key is made from a passphrase; name the passphrase's file or credential`;
  t.throws(() => openFor(place, false, SCRYPT), { message: raw });
  const development = { ...place, options: { ...place.options, rootKey: { development: true as const } } };
  t.throws(() => openFor(development, false, SCRYPT), { message: /is made from a passphrase/ });
  const passphrase = withPassphrase(t, 'correct horse');
  t.throws(() => openFor(passphrase, false, RAW), {
    message: `keystore ${passphrase.directory}: a passphrase does not open it: its root key is 32 raw bytes; name their file or credential`,
  });
});

test('scrypt never sees the parameters of an edited store', (t) => {
  for (const [logN, r, p] of [
    [1, 8, 1],
    [30, 8, 1],
    [17, 255, 255],
  ] as const) {
    const kdf: RootKeyKdf = { rootKeyKdf: 'scrypt', rootKeyParams: Buffer.concat([SALT, Buffer.of(logN, r, p)]) };
    t.throws(() => openFor(withPassphrase(t, 'correct horse'), false, kdf), {
      message: /the store record was changed outside dekd: it asks scrypt for what no dekd writes; put back a backup$/,
    });
  }
});

test('too little memory for scrypt is told', async (t) => {
  const place = withPassphrase(t, 'correct horse');
  await (await openPlace(t, place.options)).close();
  t.is(runChild('open', place.options), 'opened');
  const message = String(runChild('open with little memory', place.options));
  t.regex(
    message,
    /^upstream store: passphrase \S+: scrypt needs 128 MiB of memory for a moment; raise the process's limit$/,
  );
});

test.serial('both kinds come from systemd credentials too', (t) => {
  const place = withPassphrase(t, 'correct horse');
  process.env['CREDENTIALS_DIRECTORY'] = dirname(place.rootKeyFile);
  t.teardown(() => delete process.env['CREDENTIALS_DIRECTORY']);
  const raw = { ...place, options: { ...place.options, rootKey: { credential: 'test-root.key' } } };
  holds(t, raw, place.rootKeyFile);
  const credential = {
    ...place,
    options: { ...place.options, rootKey: { passphrase: { credential: 'test-root.key.passphrase' } } },
  };
  const handle = openFor(place, false, SCRYPT);
  const again = openFor(credential, false, SCRYPT);
  t.deepEqual(hmac(again, SALT), hmac(handle, SALT));
  freeKey(handle);
  freeKey(again);
  t.throws(() => openFor({ ...place, options: { ...place.options, rootKey: { credential: 'none' } } }, true), {
    message: /^root key credential "none": does not exist; add LoadCredentialEncrypted=none:FILE/,
  });
});
