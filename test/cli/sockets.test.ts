import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test from 'ava';
import { CliError } from '../../src/cli/messages.ts';
import { checkListening, socketPath } from '../../src/cli/sockets.ts';
import { dekctl, run, sourcePath, temporaryDirectory } from './run.ts';

const directory = temporaryDirectory(test);
const flags = { timeout: '10s' };

test('flag before environment before default', (t) => {
  const environment = { DEKD_SOCKET: '/e/agent', DEKD_ADMIN_SOCKET: '/e/admin' };
  t.is(socketPath('agent', { ...flags, socket: '/f' }, environment), '/f');
  t.is(socketPath('agent', flags, environment), '/e/agent');
  t.is(socketPath('admin', flags, environment), '/e/admin');
  t.is(socketPath('admin', { ...flags, adminSocket: '/f', socket: '/g' }, environment), '/f');
});

test('without flag and environment: ./.dekd when it is there, else /run/dekd', async (t) => {
  const here = join(directory, 'here');
  mkdirSync(join(here, '.dekd'), { recursive: true });
  const elsewhere = await dekctl(['health'], { cwd: here });
  t.regex(elsewhere.stderr, /^dekctl: no agent listens on \/run\/dekd\/agent\.sock;/);
  writeFileSync(join(here, '.dekd/admin.sock'), '');
  const development = await dekctl(['status'], { cwd: here });
  t.regex(development.stderr, /^dekctl: no agent listens on \.\/\.dekd\/admin\.sock;/);
});

test('a path of 200 characters is refused with the way out', (t) => {
  const error = t.throws(() => socketPath('agent', { ...flags, socket: 'x'.repeat(200) }, {}), {
    instanceOf: CliError,
  });
  t.is(
    error.message,
    "the socket's path has 200 bytes, a Unix socket's at most 107; use a shorter one, relative if need be",
  );
  t.is(error.exitCode, 2);
  t.is(socketPath('agent', { ...flags, socket: 'x'.repeat(107) }, {}).length, 107);
});

test('nobody listens: no file, a file, a stale socket', async (t) => {
  const file = join(directory, 'file');
  writeFileSync(file, '');
  for (const path of [join(directory, 'missing'), file]) {
    const error = await t.throwsAsync(checkListening('agent', path), { instanceOf: CliError });
    const wayOut = 'start one with `npm start` or `dekd --config FILE`, or name its socket with --socket';
    t.is(error?.message, `no agent listens on ${path}; ${wayOut}`);
    t.is(error?.exitCode, 3);
  }
  const error = await t.throwsAsync(checkListening('admin', file), { instanceOf: CliError });
  t.regex(error?.message ?? '', /name its socket with --admin-socket$/);
});

test('somebody listens', async (t) => {
  const path = join(directory, 'open.sock');
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await t.notThrowsAsync(checkListening('agent', path));
  server.close();
});

test('a socket that may not be opened names the user and the group setting', async (t) => {
  const path = join(directory, 'closed.sock');
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(path, resolve));
  chmodSync(path, 0o600);
  chmodSync(directory, 0o755);
  // Root may open everything: the check runs as another user then.
  const script = `process.getuid() === 0 && process.setuid(12345); const { checkListening } = await import(${JSON.stringify(sourcePath('src/cli/sockets.ts'))}); await checkListening('agent', ${JSON.stringify(path)}).catch((error) => process.stdout.write(error.message))`;
  if (process.getuid?.() !== 0) chmodSync(path, 0);
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script]);
  server.close();
  t.regex(stdout.toString(), /closed\.sock may not be opened by uid \d+; ask for its group \(listen\.agent\.group/);
});
