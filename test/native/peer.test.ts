import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'ava';
import { peerCredentials } from '../../src/crypto/native.ts';
import { codeOf } from './load-key.ts';

const fdOf = (socket: Socket | Server) => (socket as unknown as { _handle: { fd: number } })._handle.fd;

async function accept(connectTo: (path: string) => void, use: (socket: Socket) => void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'dekd-peer-'));
  const path = join(folder, 'socket');
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
  connectTo(path);
  const [socket] = (await once(server, 'connection')) as [Socket];
  try {
    use(socket);
  } finally {
    socket.destroy();
    server.close();
    rmSync(folder, { recursive: true });
  }
}

test('a connection of this process carries its own credentials', async (t) => {
  await accept(
    (path) => connect(path).on('error', () => {}),
    (socket) => {
      const peer = peerCredentials(fdOf(socket));
      t.is(peer.pid, process.pid);
      t.is(peer.uid, process.getuid!());
      t.is(peer.gid, process.getgid!());
      /* Node's list has the effective gid too. */
      t.deepEqual(new Set([peer.gid, ...peer.groups]), new Set(process.getgroups!()));
    },
  );
});

const asRoot = process.getuid!() === 0 ? test : test.skip;

asRoot('another user, with more groups than the first buffer holds, each once', async (t) => {
  const groups = Array.from({ length: 100 }, (_, at) => 70_000 + at);
  const given = [...groups, ...groups.slice(0, 5)].reverse();
  const script = `process.setgroups(${JSON.stringify(given)}); process.setgid(4001); process.setuid(4000);
    require('node:net').connect(process.argv[1]).on('error', () => {})`;
  await accept(
    (path) => {
      chmodSync(dirname(path), 0o755);
      chmodSync(path, 0o777);
      spawn(process.execPath, ['-e', script, path], { stdio: 'inherit', cwd: '/' });
    },
    (socket) => {
      const { pid, ...peer } = peerCredentials(fdOf(socket));
      t.not(pid, process.pid);
      t.deepEqual(peer, { uid: 4000, gid: 4001, groups });
    },
  );
});

asRoot('a process without supplementary groups', async (t) => {
  const script = `process.setgroups([]); require('node:net').connect(process.argv[1]).on('error', () => {})`;
  await accept(
    (path) => void spawn(process.execPath, ['-e', script, path], { stdio: 'inherit' }),
    (socket) => t.deepEqual(peerCredentials(fdOf(socket)).groups, []),
  );
});

test('what is no connected Unix socket is a system error', async (t) => {
  const file = openSync('/dev/null', 'r');
  t.throws(() => peerCredentials(file), { code: 'ERR_SYSTEM', message: /getsockopt failed/ });
  t.is(
    codeOf(() => peerCredentials(2 ** 31 - 1)),
    'ERR_SYSTEM',
  );
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const folder = mkdtempSync(join(tmpdir(), 'dekd-peer-'));
  const listener = createServer().listen(join(folder, 'socket'));
  await once(listener, 'listening');
  t.is(
    codeOf(() => peerCredentials(fdOf(listener))),
    'ERR_SYSTEM',
  );
  listener.close();
  rmSync(folder, { recursive: true });
  const address = server.address() as { port: number };
  const client = connect(address.port, '127.0.0.1');
  const [socket] = (await once(server, 'connection')) as [Socket];
  t.is(
    codeOf(() => peerCredentials(fdOf(socket))),
    'ERR_SYSTEM',
  );
  t.is(
    codeOf(() => peerCredentials(fdOf(server))),
    'ERR_SYSTEM',
  );
  client.destroy();
  socket.destroy();
  server.close();
  closeSync(file);
});
