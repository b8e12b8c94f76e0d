// What keeps an agent from starting: one line that says what is wrong and the way out, and nothing is lost.
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { ExecutionContext } from 'ava';
import { type AgentOptions, type Exit, runAgent, startAgent } from '../helpers/agent-process.ts';
import { makePlace, type Place } from '../helpers/place.ts';
import { requireRoot } from '../helpers/require-root.ts';
import { test } from '../helpers/serial.ts';

/** An agent was here, encrypted, and is gone. */
async function usedPlace(t: ExecutionContext): Promise<{ place: Place; ciphertext: Buffer }> {
  const place = makePlace(t);
  const agent = await startAgent(t, place);
  const { message } = await agent.client.call('Encrypt', { key: 'default', plaintext: Buffer.from('kept') });
  t.is((await agent.stop()).code, 0);
  return { place, ciphertext: message.ciphertext };
}

async function opensAgain(t: ExecutionContext, place: Place, ciphertext: Buffer): Promise<void> {
  const agent = await startAgent(t, place);
  t.is((await agent.client.call('Decrypt', { ciphertext })).message.plaintext.toString(), 'kept');
  t.is((await agent.stop()).code, 0);
}

/** It ends with an error that matches, and leaves no socket. */
async function refuses(t: ExecutionContext, place: Place, message: RegExp, options?: AgentOptions): Promise<Exit> {
  const exit = await runAgent(t, place, options);
  t.not(exit.code, 0);
  t.is(exit.signal, null);
  t.is(exit.stdout, '');
  const errors = exit.stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
  t.true(
    errors.every((line) => line.startsWith('dekd: ')),
    exit.stderr,
  );
  t.regex(errors.join('\n'), message);
  t.notRegex(exit.stderr, /^\s+at /m);
  return exit;
}

test('a typo in the configuration: file, line, column, path and what was meant', async (t) => {
  const { place, ciphertext } = await usedPlace(t);
  const right = readFileSync(place.configFile, 'utf8');
  const typos: [string, string, RegExp][] = [
    ['"upstreams"', '"upstream"', /dekd\.yaml:\d+:\d+: upstream: unknown field; did you mean upstreams\?/],
    ['"admin": [', '"admins": [', /dekd\.yaml:\d+:\d+: admins: unknown field; did you mean admin\?/],
    ['"role": "authority"', '"role": "autority"', /keys\.default\.recipients\[0\]\.role: found "autority", expected/],
    ['"size": "1MiB"', '"size": "1MB"', /memory\.size: found "1MB", expected/],
    ['"local:default"', '"local default"', /keys\.default\.recipients\[0\]\.kek: found "local default", expected/],
    ['"upstream": "store"', '"upstream": "stor"', /no upstream is called stor; known: store/],
  ];
  for (const [from, to, message] of typos) {
    t.true(right.includes(from), from);
    writeFileSync(place.configFile, right.replace(from, to));
    t.is((await refuses(t, place, message)).code, 2);
  }
  writeFileSync(place.configFile, 'profile: [');
  await refuses(t, place, /dekd\.yaml:1:/);
  rmSync(place.configFile);
  await refuses(t, place, /dekd\.yaml: no such file/);
  writeFileSync(place.configFile, right);
  await opensAgain(t, place, ciphertext);
});

test('a socket path of 200 characters', async (t) => {
  const place = makePlace(t);
  const path = join(place.directory, 's'.repeat(199 - place.directory.length));
  t.is(path.length, 200);
  place.configure({ listen: { agent: { path }, admin: { path: place.adminSocket } } });
  await refuses(
    t,
    place,
    /listen\.agent\.path: the path has 200 bytes, a Unix socket's at most 107; choose a shorter directory/,
  );
});

test('a second agent on the same socket, or on the same keystore', async (t) => {
  const place = makePlace(t);
  const first = await startAgent(t, place);
  const { message } = await first.client.call('Encrypt', { key: 'default', plaintext: Buffer.from('kept') });
  const named = new RegExp(
    `socket .*\\.sock: an agent already listens there \\(pid ${first.pid}, since .*\\); stop it, or choose another path`,
  );
  await refuses(t, place, named);
  const directory = join(place.directory, 'keystore-2');
  place.configure({ upstreams: { store: { type: 'local', directory, root_key: { file: place.rootKeyFile } } } });
  await refuses(t, place, named);

  const path = (name: string) => ({ path: join(place.directory, name) });
  place.configure({ listen: { agent: path('agent-2.sock'), admin: path('admin-2.sock') } });
  const locked =
    /keystore .*: another process \(an agent or dekctl\) has it open; stop it or wait for it, or use another directory/;
  await refuses(t, place, locked);
  // The first one has noticed nothing.
  const { ciphertext } = message;
  t.is((await first.client.call('Decrypt', { ciphertext })).message.plaintext.toString(), 'kept');
  t.true(existsSync(place.agentSocket));
});

test('a stale socket after SIGKILL is taken over, and what was encrypted opens', async (t) => {
  const place = makePlace(t);
  const first = await startAgent(t, place);
  const { message } = await first.client.call('Encrypt', { key: 'default', plaintext: Buffer.from('kept') });
  first.kill('SIGKILL');
  t.is((await first.exit()).signal, 'SIGKILL');
  t.true(existsSync(place.agentSocket));
  await opensAgain(t, place, message.ciphertext);
  t.false(existsSync(place.agentSocket));
});

test('another file in the socket’s place stays as it is', async (t) => {
  const place = makePlace(t);
  writeFileSync(place.agentSocket, 'somebody’s notes');
  await refuses(t, place, /agent\.sock: a regular file is in its place; remove it, or choose another path/);
  t.is(readFileSync(place.agentSocket, 'utf8'), 'somebody’s notes');
  rmSync(place.agentSocket);
  const agent = await startAgent(t, place);
  await agent.client.call('Encrypt', { key: 'default' });
});

test('a root key of the wrong length, another root key, one that others can read, none', async (t) => {
  const { place, ciphertext } = await usedPlace(t);
  const { rootKeyFile } = place;
  const right = readFileSync(rootKeyFile);
  for (const length of [0, 31, 33, 64]) {
    writeFileSync(rootKeyFile, Buffer.alloc(length, 7));
    await refuses(
      t,
      place,
      new RegExp(`root key .*root\\.key: must have exactly 32 bytes and has ${length}; put back the root key`),
    );
  }
  writeFileSync(rootKeyFile, Buffer.alloc(32, 7));
  await refuses(
    t,
    place,
    /this root key \(id [0-9a-f]{16}\) is not the store's \(id [0-9a-f]{16}\); name the root key/,
  );
  writeFileSync(rootKeyFile, right);
  chmodSync(rootKeyFile, 0o644);
  await refuses(t, place, /root key .*root\.key: can be read or written by others \(mode 0644\); run: chmod 600/);
  rmSync(rootKeyFile);
  await refuses(t, place, /root key .*root\.key: /);
  writeFileSync(rootKeyFile, right, { mode: 0o600 });
  await opensAgain(t, place, ciphertext);
});

test('an edited keystore row is refused by name, and the file is left as it is', async (t) => {
  const { place, ciphertext } = await usedPlace(t);
  const backup = `${place.database}.backup`;
  copyFileSync(place.database, backup);
  const edits: [string, RegExp][] = [
    [
      'UPDATE kek SET labels = \'[["a","b"]]\'',
      /the record of KEK "default" was changed outside dekd; put back a backup/,
    ],
    [
      'UPDATE kek_version SET created_at = created_at + 1',
      /the record of KEK "default" version 1 was changed outside dekd/,
    ],
    [
      'UPDATE kek_version SET wrapped_key = randomblob(72)',
      /the record of KEK "default" version 1 was changed outside dekd/,
    ],
    ['DELETE FROM kek_version', /the record of KEK "default" version 1 is missing: it was removed outside dekd/],
    ["UPDATE store SET manifest = '[]'", /the store record was changed outside dekd/],
  ];
  for (const [statement, message] of edits) {
    copyFileSync(backup, place.database);
    const connection = new DatabaseSync(place.database);
    connection.exec(statement);
    connection.close();
    const edited = readFileSync(place.database);
    await refuses(t, place, message);
    t.true(readFileSync(place.database).equals(edited), statement);
  }
  copyFileSync(backup, place.database);
  await opensAgain(t, place, ciphertext);
});

test('a state directory that is read-only', async (t) => {
  if (!requireRoot(t, 'it runs the agent as another user')) return;
  const { place, ciphertext } = await usedPlace(t);
  const uid = 65_533;
  const keystore = join(place.directory, 'keystore');
  chmodSync(keystore, 0o755);
  for (const path of [place.directory, place.rootKeyFile]) chownSync(path, uid, uid);
  const prefix = ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
  const message = new RegExp(
    `keystore ${keystore}: cannot be written by uid ${uid} \\(EACCES\\); mount it read-write and make that user its owner`,
  );
  await refuses(t, place, message, { prefix });
  // The directory may be written, the file not.
  chownSync(keystore, uid, uid);
  await refuses(t, place, new RegExp(`keystore ${keystore}: cannot be written by uid ${uid}`), { prefix });

  // No directory for the sockets.
  const sockets = join(place.directory, 'sockets');
  mkdirSync(sockets, { mode: 0o755 });
  chownSync(place.database, uid, uid);
  place.configure({ listen: { agent: { path: join(sockets, 'a.sock') }, admin: { path: join(sockets, 'b.sock') } } });
  await refuses(t, place, /socket .*sockets\/b\.sock: .*EACCES.*; run dekd as the owner/, { prefix });

  for (const path of [place.directory, place.rootKeyFile, keystore, place.database]) chownSync(path, 0, 0);
  place.configure({});
  t.is(statSync(place.database).uid, 0);
  await opensAgain(t, place, ciphertext);
});
