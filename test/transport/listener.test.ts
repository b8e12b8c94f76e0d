import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { native } from '../../src/crypto/native.ts';
import type { DekdError } from '../../src/errors.ts';
import { reserveUnixListener, type UnixListener, type UnixListenerOptions } from '../../src/transport/listener.ts';
import { requireRoot } from '../helpers/require-root.ts';

function temporaryDirectory(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function open(
  t: ExecutionContext,
  path: string,
  options: Partial<UnixListenerOptions> = {},
): Promise<UnixListener> {
  const reserved = await reserveUnixListener({ path, mode: 0o600, lockFile: native.lockFile, ...options });
  const listener = await reserved.listen();
  t.teardown(() => listener.close());
  return listener;
}

/** The operator's message when nothing is opened. */
async function refused(t: ExecutionContext, path: string, options: Partial<UnixListenerOptions> = {}): Promise<string> {
  const error = await t.throwsAsync<DekdError>(open(t, path, options));
  t.is(error?.reason, 'INVALID_REQUEST');
  return error?.message ?? '';
}

function connects(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function listen(path: string): Promise<Server> {
  const server = createServer();
  return new Promise((resolve) => server.listen(path, () => resolve(server)));
}

/** A socket that nobody serves any more, as a killed process leaves it. */
async function staleSocket(path: string): Promise<void> {
  const server = await listen(`${path}.before`);
  renameSync(`${path}.before`, path);
  await new Promise((resolve) => server.close(resolve));
}

test('the socket appears with mode, group and lock file, in a directory that is made for it; close removes both', async (t) => {
  const directory = join(temporaryDirectory(t), 'made');
  const path = join(directory, 'agent.sock');
  const gid = process.getgid?.() ?? 0;
  const listener = await open(t, path, { mode: 0o660, gid });
  t.is(listener.path, path);
  t.is(lstatSync(path).mode & 0o7777, 0o660);
  t.is(lstatSync(path).gid, gid);
  // Whoever the socket's mode lets in can pass through the directory.
  t.is(lstatSync(directory).mode & 0o7777, 0o710);
  t.regex(readFileSync(`${path}.lock`, 'utf8'), new RegExp(`^pid ${process.pid}, since \\d{4}-`));
  t.deepEqual(readdirSync(directory).sort(), ['agent.sock', 'agent.sock.lock']);
  t.true(await connects(path));
  await listener.close();
  await listener.close();
  t.deepEqual(readdirSync(directory), []);
});

test('the directory of a private socket is private', async (t) => {
  const directory = join(temporaryDirectory(t), 'a', 'b');
  await open(t, join(directory, 'admin.sock'), { mode: 0o600 });
  t.is(lstatSync(directory).mode & 0o7777, 0o700);
});

test('a path over 107 bytes is refused with its length and the limit; 107 bytes work', async (t) => {
  const directory = temporaryDirectory(t);
  const path = (bytes: number) => join(directory, 'ü'.padEnd(bytes - Buffer.byteLength(directory) - 2, 'x'));
  await open(t, path(107));
  t.true(await connects(path(107)));
  const message = await refused(t, path(108));
  t.regex(message, /has 108 bytes, and a socket's path has at most 107 here; choose a shorter directory/);
  t.regex(await refused(t, path(200)), /has 200 bytes/);
  // With a short name it is the temporary name that must fit.
  const deep = join(directory, 'd'.padEnd(100 - Buffer.byteLength(directory), 'd'), 's');
  t.regex(await refused(t, deep.padEnd(106, 's')), /at most 10\d here/);
});

test('an empty path and an abstract socket are refused', async (t) => {
  t.regex(await refused(t, ''), /no path in the file system/);
  t.regex(await refused(t, '\0dekd'), /no path in the file system/);
});

test('a directory where anybody may replace files is refused, unless it is sticky', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'agent.sock');
  chmodSync(directory, 0o777);
  t.regex(
    await refused(t, path),
    /anybody may replace files in .* \(mode 0777\); take that right away with `chmod o-w/,
  );
  t.deepEqual(readdirSync(directory), []);
  chmodSync(directory, 0o1777);
  await open(t, path);
  t.true(await connects(path));
});

test("another user's directory is refused, sticky or not", async (t) => {
  if (!requireRoot(t, 'only root can give a directory away')) return;
  const directory = temporaryDirectory(t);
  const path = join(directory, 'agent.sock');
  for (const mode of [0o700, 0o1777]) {
    chmodSync(directory, mode);
    chownSync(directory, 4242, 4242);
    t.regex(await refused(t, path), /its owner, uid 4242, may replace files in .*; take .* `chown 0 /);
  }
});

test('a directory that is a file, and one that cannot be made', async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, 'file'), '');
  t.regex(await refused(t, join(directory, 'file', 'agent.sock')), /file is no directory/);
  t.regex(await refused(t, join(directory, 'file', 'deeper', 'agent.sock')), /its directory can't be made \(ENOTDIR/);
});

test('a second agent is refused and told about the first', async (t) => {
  const path = join(temporaryDirectory(t), 'agent.sock');
  const first = await open(t, path);
  const message = await refused(t, path);
  t.regex(message, new RegExp(`an agent already listens there \\(pid ${process.pid}, since \\d{4}-.*Z\\); stop it`));
  t.true(await connects(path));
  await first.close();
  await open(t, path);
});

test('the socket of an agent that was killed is taken over', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'agent.sock');
  const script = `
    import { reserveUnixListener } from ${JSON.stringify(join(import.meta.dirname, '../../src/transport/listener.ts'))};
    import { native } from ${JSON.stringify(join(import.meta.dirname, '../../src/crypto/native.ts'))};
    const reserved = await reserveUnixListener({ path: process.argv[1], mode: 0o600, lockFile: native.lockFile });
    await reserved.listen();
    console.log('ready');
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  t.regex(await refused(t, path), new RegExp(`pid ${child.pid}, since`));
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));
  t.true(existsSync(path) && existsSync(`${path}.lock`));
  await open(t, path);
  t.true(await connects(path));
});

test('what is no socket is left alone', async (t) => {
  const directory = temporaryDirectory(t);
  const file = join(directory, 'file');
  writeFileSync(file, 'precious');
  t.regex(await refused(t, file), /a regular file is in its place; remove it, or choose another path/);
  t.is(readFileSync(file, 'utf8'), 'precious');
  mkdirSync(join(directory, 'directory'));
  t.regex(await refused(t, join(directory, 'directory')), /a directory is in its place/);
  symlinkSync(file, join(directory, 'link'));
  t.regex(await refused(t, join(directory, 'link')), /a symbolic link is in its place/);
  t.deepEqual(readdirSync(directory).sort(), ['directory', 'file', 'link']);
});

test('a file or link in the place of the lock file is left alone', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'agent.sock');
  writeFileSync(`${path}.lock`, 'precious');
  t.regex(await refused(t, path), /agent.sock.lock is not a lock file of dekd/);
  t.is(readFileSync(`${path}.lock`, 'utf8'), 'precious');
  unlinkSync(`${path}.lock`);
  symlinkSync('/etc/hostname', `${path}.lock`);
  t.regex(await refused(t, path), /its lock file can't be opened \(ELOOP/);
});

test('a socket that another program serves is left alone', async (t) => {
  const path = join(temporaryDirectory(t), 'agent.sock');
  const other = await listen(path);
  t.teardown(() => other.close());
  t.regex(await refused(t, path), /another program listens there/);
  t.true(await connects(path));
});

test("another user's stale socket is left alone", async (t) => {
  const path = join(temporaryDirectory(t), 'agent.sock');
  await staleSocket(path);
  if (process.getuid?.() !== 0) {
    t.log('only root can give a socket away: not tried');
    t.pass();
    return;
  }
  chownSync(path, 65534, 65534);
  t.regex(await refused(t, path), /a socket of uid 65534 is in its place/);
  t.true(lstatSync(path).isSocket());
  // Unless it is whom the configuration gives the socket to.
  await open(t, path, { uid: 65534, gid: 65534 });
  t.is(lstatSync(path).uid, 65534);
});

test('close leaves a socket that is no longer ours', async (t) => {
  const path = join(temporaryDirectory(t), 'agent.sock');
  const listener = await open(t, path);
  unlinkSync(path);
  const other = await listen(path);
  t.teardown(() => other.close());
  await listener.close();
  t.true(await connects(path));
});

/** Opens a listener, in a directory of its own, as an unprivileged process; what it says when it is refused. */
async function openUnprivileged(directory: string, options: object): Promise<string> {
  const script = `
    import { reserveUnixListener } from ${JSON.stringify(join(import.meta.dirname, '../../src/transport/listener.ts'))};
    try {
      const options = JSON.parse(process.argv[1]);
      const reserved = await reserveUnixListener({ mode: 0o600, lockFile: () => true, ...options });
      await (await reserved.listen()).close();
    } catch (error) {
      console.log(error.message);
    }
  `;
  const path = join(directory, 'agent.sock');
  const node = [process.execPath, '--input-type=module', '-e', script, JSON.stringify({ path, ...options })];
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
  const [command, ...args] = process.getuid?.() === 0 ? [...nobody, ...node] : node;
  if (process.getuid?.() === 0) chownSync(directory, 65534, 65534);
  const child = spawn(command as string, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  await new Promise((resolve) => child.once('close', resolve));
  return output;
}

test('an unprivileged agent cannot give its socket away; it says so and leaves nothing behind', async (t) => {
  const directory = temporaryDirectory(t);
  t.regex(await openUnprivileged(directory, { gid: 0 }), /EPERM/);
  t.deepEqual(readdirSync(directory), []);
});

test("a directory whose group may replace files is refused, unless it is root's, as Kubernetes fsGroup makes it, or sticky", async (t) => {
  const directory = temporaryDirectory(t);
  chmodSync(directory, 0o2775);
  if (process.geteuid?.() === 0) await (await open(t, join(directory, 'agent.sock'))).close();
  const message = await openUnprivileged(directory, {});
  // chown(2) takes the set-gid bit away.
  t.regex(message, /its group may replace files in .* \(mode [02]775\); take that right away with `chmod g-w /);
  chmodSync(directory, 0o1775);
  t.is(await openUnprivileged(directory, {}), '');
});

test('a program whose backlog is full listens nevertheless', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'agent.sock');
  // node:net cannot leave a connection unaccepted: a listener that is stopped can.
  const script = `
    const server = require('node:net').createServer();
    server.listen({ path: process.argv[1], backlog: 1 }, () => process.stdout.write('listens'));`;
  const child = spawn(process.execPath, ['-e', script, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  child.kill('SIGSTOP');
  const errors: string[] = [];
  for (let tries = 0; tries < 20 && errors.length === 0; tries++) {
    const waiting = connect(path);
    t.teardown(() => waiting.destroy());
    waiting.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code ?? ''));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.is(errors[0], 'EAGAIN');
  t.regex(await refused(t, path), /another program listens there/);
  t.true(existsSync(path));
});

test('what came to the path between reservation and listening is left alone', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'agent.sock');
  const reservation = await reserveUnixListener({ path, mode: 0o600, lockFile: native.lockFile });
  const other = await listen(path);
  t.teardown(() => other.close());
  const error = await t.throwsAsync<DekdError>(reservation.listen());
  t.regex(error?.message ?? '', /another program listens there/);
  t.true(await connects(path));
  t.deepEqual(readdirSync(directory), ['agent.sock']);
});
