import { EventEmitter } from 'node:events';
import { connect as connectHttp2, constants } from 'node:http2';
import { connect as connectSocket, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import { peerCredentials } from '../../../src/crypto/native.ts';
import { Connections } from '../../../src/transport/grpc-js/connections.ts';
import type { Principal } from '../../../src/transport/principal.ts';
import { RequestMemory } from '../../../src/transport/request-memory.ts';
import type { RefusedConnection } from '../../../src/transport/transport.ts';
import { keyAgent, rawRequest, startServer } from './test-server.ts';

function closed(socket: Socket): Promise<void> {
  socket.on('error', () => {});
  socket.resume();
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

async function eventually(condition: () => boolean | Promise<boolean>): Promise<boolean> {
  for (let tries = 0; tries < 200; tries++) {
    if (await condition()) return true;
    await delay(10);
  }
  return false;
}

test('the kernel says who is calling', async (t) => {
  let seen: Principal | undefined;
  const { call } = await startServer(
    t,
    {
      Encrypt: (_, { principal }) => {
        seen = principal;
        return {};
      },
    },
    { peerCredentials },
  );
  await call('Encrypt', {});
  t.is(seen?.uid, process.getuid?.());
  t.is(seen?.gid, process.getgid?.());
});

test('each connection has its own principal, asked for once', async (t) => {
  let asked = 0;
  const seen: number[] = [];
  const { call, connect } = await startServer(
    t,
    {
      Encrypt: (_, { principal }) => {
        seen.push(principal.uid);
        return {};
      },
    },
    { peerCredentials: () => ({ uid: ++asked, gid: 0, groups: [] }) },
  );
  const other = connect();
  await call('Encrypt', {});
  await call('Encrypt', {}, { client: other });
  await call('Encrypt', {});
  await call('Encrypt', {}, { client: other });
  t.deepEqual(seen, [1, 2, 1, 2]);
});

test('a peer whose credentials cannot be read is cut off, and nobody else', async (t) => {
  let refuse = false;
  const { call, path } = await startServer(
    t,
    { Encrypt: () => ({}) },
    {
      peerCredentials: () => {
        if (refuse) throw new Error('no credentials');
        return { uid: 1, gid: 1, groups: [] };
      },
    },
  );
  await call('Encrypt', {});
  refuse = true;
  await closed(connectSocket(path));
  t.is((await call('Encrypt', {})).error, undefined);
});

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const SETTINGS = Buffer.from('000000040000000000', 'hex');

const GARBAGE: Record<string, Buffer> = {
  'HTTP/1.1': Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
  'random bytes': Buffer.from('9f3c00ff'.repeat(200), 'hex'),
  'a TLS hello': Buffer.from('16030100050100000100', 'hex'),
  'a cut preface': PREFACE.subarray(0, 10),
  'a preface without settings': Buffer.concat([PREFACE, Buffer.from('0000040800000000000000ffff', 'hex')]),
  'a frame of 16 MiB': Buffer.concat([PREFACE, SETTINGS, Buffer.from('ffffff0000000000001', 'hex')]),
  'data on stream 0': Buffer.concat([PREFACE, SETTINGS, Buffer.from('00000100000000000061', 'hex')]),
  'headers that do not decode': Buffer.concat([PREFACE, SETTINGS, Buffer.from('000004010500000001ffffffff', 'hex')]),
  'headers without a path': Buffer.concat([PREFACE, SETTINGS, Buffer.from('00000101050000000182', 'hex')]),
};

for (const [name, bytes] of Object.entries(GARBAGE)) {
  test(`${name} instead of HTTP/2 ends that connection or stream, and no other`, async (t) => {
    const { call, path, connections } = await startServer(t, { Encrypt: () => ({ key: 'x' }) });
    await call('Encrypt', {});
    const socket = connectSocket(path);
    const gone = closed(socket);
    socket.write(bytes);
    await delay(30);
    t.is((await call('Encrypt', {})).response?.['key'], 'x');
    socket.destroy();
    await gone;
    t.true(await eventually(async () => (await connections()) === 1));
    t.is((await call('Encrypt', {})).response?.['key'], 'x');
  });
}

test('a client that disappears in the middle of a call aborts it, and nothing else happens', async (t) => {
  let running = false;
  let aborted = false;
  const { call, path, connections } = await startServer(t, {
    Encrypt: (_, { signal }) =>
      new Promise((resolve) => {
        running = true;
        signal.addEventListener('abort', () => {
          aborted = true;
          resolve({});
        });
      }),
    Decrypt: () => ({ key: 'x' }),
  });
  const session = connectHttp2('http://localhost', { createConnection: () => connectSocket(path) });
  session.on('error', () => {});
  const stream = session.request({
    [constants.HTTP2_HEADER_METHOD]: 'POST',
    [constants.HTTP2_HEADER_PATH]: keyAgent['Encrypt']!.path,
    'content-type': 'application/grpc',
  });
  stream.on('error', () => {});
  stream.end(Buffer.alloc(5));
  t.true(await eventually(() => running));
  t.false(aborted);
  session.destroy();
  t.true(await eventually(() => aborted));
  t.is((await call('Decrypt', {})).response?.['key'], 'x');
  t.true(await eventually(async () => (await connections()) === 1));
});

test('odd requests get an answer, and the connection lives on', async (t) => {
  const { path, call } = await startServer(t, { Encrypt: () => ({}) });
  const http2 = connectHttp2('http://localhost', { createConnection: () => connectSocket(path) });
  const request = async (headers: Record<string, string>, body: Buffer) => {
    const received = await rawRequest(http2, 'Encrypt', headers, body);
    return [received[':status'], received['grpc-status'], received['grpc-message']];
  };
  const empty = Buffer.alloc(5);
  const text = 'a call of this RPC has exactly one message, which comes whole, and nothing behind it';
  // None, half a one, two, one and a bit.
  for (const hex of ['', '00000000050102', '00000000000000000000', '0000000000000001', '000000000000000000090102']) {
    t.deepEqual(await request({}, Buffer.from(hex, 'hex')), [200, '12', encodeURI(text)], hex);
  }
  t.deepEqual(await request({ 'grpc-timeout': 'soon' }, empty), [
    200,
    '3',
    'grpc-timeout:%20is%20not%20a%20valid%20time-out',
  ]);
  t.is((await request({ 'content-type': 'text/plain' }, empty))[0], 415);
  t.deepEqual((await request({ ':authority': '%2Frun%2Fx.sock' }, empty)).slice(0, 2), [200, '0']);
  t.is((await call('Encrypt', {})).error, undefined);
  http2.close();
});

test('a compressed message is UNIMPLEMENTED, whatever it is compressed with; every answer says so before', async (t) => {
  const { path } = await startServer(t, { Encrypt: () => t.fail('no handler may see this'), Decrypt: () => ({}) });
  const http2 = connectHttp2('http://localhost', { createConnection: () => connectSocket(path) });
  const body = gzipSync(Buffer.alloc(64 * 1024 * 1024));
  const header = Buffer.from('0100000000', 'hex');
  header.writeUInt32BE(body.length, 1);
  const service = (name: string) => keyAgent[name]!.path;
  for (const encoding of ['gzip', 'deflate', 'rot13']) {
    const received = await rawRequest(http2, 'Encrypt', { 'grpc-encoding': encoding }, Buffer.concat([header, body]));
    t.is(received['grpc-status'], '12');
    t.is(received['grpc-message'], 'messages%20must%20not%20be%20compressed');
    t.is(received['grpc-accept-encoding'], 'identity');
  }
  const check = { ':path': '/grpc.health.v1.Health/Check', 'grpc-encoding': 'gzip' };
  const health = await rawRequest(http2, 'Encrypt', check, Buffer.of(1, 0, 0, 0, 0));
  t.deepEqual([health['grpc-status'], health['grpc-message']], ['12', 'messages%20must%20not%20be%20compressed']);
  // Declared, and not made use of.
  const plain = await rawRequest(
    http2,
    'Decrypt',
    { 'grpc-encoding': 'gzip', ':path': service('Decrypt') },
    Buffer.alloc(5),
  );
  t.deepEqual([plain['grpc-status'], plain['grpc-accept-encoding']], ['0', 'identity']);
  http2.close();
});

test('strange paths and too many headers end the stream, not the server', async (t) => {
  const { path, call } = await startServer(t, { Encrypt: () => ({ key: 'x' }) });
  const statusOf = async (headers: Record<string, string>) => {
    const http2 = connectHttp2('http://localhost', { createConnection: () => connectSocket(path) });
    http2.on('error', () => {});
    const received = await rawRequest(http2, 'Encrypt', headers, Buffer.alloc(5));
    http2.destroy();
    return received['grpc-status'];
  };
  t.is(await statusOf({ ':path': '/\u00e9\u00ff' }), '12');
  t.is(await statusOf({ ':path': `/${'x'.repeat(7_800)}` }), '12');
  t.is(await statusOf({ ':path': `/${'x'.repeat(8_200)}` }), undefined);
  t.is(await statusOf({ ':path': `/${'x'.repeat(70_000)}` }), undefined);
  const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, at) => [`x-${at}`, 'v']));
  t.is(await statusOf(many(58)), '0');
  t.is(await statusOf(many(70)), undefined);
  t.is(await statusOf({ 'bad-bin': '!!!' }), '0');
  t.is((await call('Encrypt', {})).response?.['key'], 'x');
});

test('a connection has at most 64 streams at a time; more wait their turn', async (t) => {
  let running = 0;
  let most = 0;
  const { call } = await startServer(t, {
    Encrypt: async () => {
      most = Math.max(most, ++running);
      await delay(20);
      running--;
      return { key: 'x' };
    },
  });
  await call('Encrypt', {});
  const answers = await Promise.all(Array.from({ length: 600 }, () => call('Encrypt', {})));
  t.true(answers.every(({ response }) => response?.['key'] === 'x'));
  t.true(most > 30 && most <= 64, `${most} at a time`);
});

test('a peer that opens and resets streams without end loses its connection, and nobody else', async (t) => {
  const { path, call } = await startServer(t, { Encrypt: () => ({ key: 'x' }) });
  await call('Encrypt', {});
  const http2 = connectHttp2('http://localhost', { createConnection: () => connectSocket(path) });
  http2.on('error', () => {});
  for (let round = 0; round < 60 && !http2.destroyed; round++) {
    for (let count = 0; count < 100 && !http2.destroyed; count++) {
      const stream = http2.request({
        ':method': 'POST',
        ':path': keyAgent['Encrypt']!.path,
        'content-type': 'application/grpc',
      });
      stream.on('error', () => {});
      stream.close(constants.NGHTTP2_CANCEL);
    }
    await delay(1);
  }
  t.true(await eventually(() => http2.destroyed));
  t.is((await call('Encrypt', {})).response?.['key'], 'x');
});

/** As much of a connected socket as Connections looks at. */
function stubSocket(uid: number): Socket {
  const socket = Object.assign(new EventEmitter(), {
    _handle: { fd: uid, readStop: () => {} },
    destroyed: false,
    destroy() {
      socket.destroyed = true;
      socket.emit('close');
    },
  });
  return socket as unknown as Socket;
}

function limited(t: ExecutionContext, isKnown: boolean) {
  const told: RefusedConnection[] = [];
  const clock = { nowMs: 0 };
  const options = {
    peerCredentials: (uid: number) => ({ uid, gid: uid, groups: [] }),
    admits: () => isKnown,
    onConnectionRefused: (refused: RefusedConnection) => void told.push(refused),
    requestMemory: new RequestMemory(0),
    resume: () => t.fail('nothing was held'),
  };
  const connections = new Connections(options, () => clock.nowMs);
  const open = (uid: number, count: number): Socket[] =>
    Array.from({ length: count }, () => stubSocket(uid)).filter((socket) => {
      const admitted = connections.admit(socket);
      if (admitted) t.false(socket.destroyed);
      return admitted;
    });
  return { connections, clock, open, told };
}

test('one uid has 256 connections at most, all together 1,024; what is more is refused and told once', async (t) => {
  const { connections, open, told } = limited(t, true);
  const first = open(1, 300);
  t.is(first.length, 256);
  t.deepEqual(told, [{ uid: 1, scope: 'uid', limit: 256 }]);
  t.is(open(2, 256).length + open(3, 256).length + open(4, 255).length, 767);
  t.is(open(5, 3).length, 1);
  t.is(told.length, 1);
  for (const socket of first) socket.destroy();
  t.is(open(1, 256).length, 256);
  // Whoever is refused too often is held for a while.
  const last = Array.from({ length: 100 }, () => stubSocket(1));
  for (const socket of last) connections.admit(socket);
  t.is(last.filter(({ destroyed }) => destroyed).length, 64 - 44);
  void connections.closed();
  t.true(last.every(({ destroyed }) => destroyed));
});

test('the process-wide limit of connections is told as such', (t) => {
  const { open, told } = limited(t, true);
  for (let uid = 1; uid <= 4; uid++) open(uid, 256);
  open(5, 1);
  t.deepEqual(told, [{ uid: 5, scope: 'process', limit: 1024 }]);
});

test('callers whom no rule names have 32 connections, all together, and 8 each', (t) => {
  const { open, told } = limited(t, false);
  const first = open(1, 20);
  t.is(first.length, 8);
  t.deepEqual(told, [{ uid: 1, scope: 'unknown callers', limit: 8 }]);
  for (const uid of [2, 3, 4]) t.is(open(uid, 8).length, 8);
  t.is(open(5, 1).length, 0);
  first[0]?.destroy();
  t.is(open(5, 2).length, 1);
});

test('when their places are taken, the one that has called nothing for longest gives way after 10 s', (t) => {
  const { clock, connections, open } = limited(t, false);
  const peers = [1, 2, 3, 4].flatMap((uid) => Array.from({ length: 8 }, () => connections.admit(stubSocket(uid))!));
  clock.nowMs = 9_999;
  connections.called(peers[0]!);
  t.is(open(5, 1).length, 0);
  clock.nowMs = 10_000;
  t.is(open(5, 1).length, 1);
  t.deepEqual(
    peers.flatMap(({ socket }, at) => (socket.destroyed ? [at] : [])),
    [1],
  );
  // A uid with all of its places taken gets one of its own.
  t.is(open(4, 1).length, 1);
  t.true(peers[24]!.socket.destroyed);
  t.false(peers[0]!.socket.destroyed);
});

test('a rule’s callers do not give way', (t) => {
  const { clock, open } = limited(t, true);
  const first = open(1, 256);
  clock.nowMs = 1e6;
  t.is(open(1, 1).length, 0);
  t.false(first.some(({ destroyed }) => destroyed));
});
