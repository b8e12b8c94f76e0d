import { connect as connectHttp2 } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { RequestMemory } from '../../../src/transport/request-memory.ts';
import { FLAG, FRAME, frame, integer, opening } from '../../chaos/http2-frames.ts';
import { headersOf } from './raw-client.ts';
import { keyAgent, startServer } from './test-server.ts';

const MIB = 1024 * 1024;

interface Outcome {
  readonly status: unknown;
  readonly details: string;
  readonly pushback: unknown;
  readonly rstCode: number;
}

/** An HTTP/2 client that does not do what gRPC clients do. */
function connect(t: ExecutionContext, path: string, settings = {}) {
  const session = connectHttp2('http://localhost', { createConnection: () => connectSocket(path), settings });
  session.on('error', () => {});
  t.teardown(() => session.destroy());
  const request = (bodyBytes: Buffer, name = 'Encrypt') => {
    const stream = session.request(
      { ':method': 'POST', ':path': keyAgent[name]!.path, 'content-type': 'application/grpc' },
      { endStream: false },
    );
    const seen: Record<string, unknown> = {};
    stream.on('response', (headers) => Object.assign(seen, headers));
    stream.on('trailers', (headers) => Object.assign(seen, headers));
    stream.on('error', () => {});
    stream.write(bodyBytes);
    const closed = new Promise<Outcome>((resolve) =>
      stream.once('close', () =>
        resolve({
          status: seen['grpc-status'],
          details: Buffer.from(String(seen['grpc-status-details-bin'] ?? ''), 'base64').toString(),
          pushback: seen['grpc-retry-pushback-ms'],
          rstCode: stream.rstCode,
        }),
      ),
    );
    return { stream, closed, seen };
  };
  return { session, request };
}

/** All of a message of `bytes` but its last byte. */
function halfSent(bytes: number): Buffer {
  const frame = Buffer.alloc(5 + bytes - 1);
  frame.writeUInt32BE(bytes, 1);
  return frame;
}

async function eventually(condition: () => boolean): Promise<boolean> {
  for (let tries = 0; tries < 200 && !condition(); tries++) await delay(10);
  return condition();
}

test('half-sent messages share a budget: who comes too late is told to try again, and what ends gives its share back', async (t) => {
  const requestMemory = new RequestMemory(16 * MIB);
  const { path, call } = await startServer(t, { Encrypt: () => ({ key: 'x' }) }, { requestMemory });
  const { session, request } = connect(t, path);
  const held = [request(halfSent(4 * MIB)), request(halfSent(4 * MIB))];
  t.true(await eventually(() => requestMemory.takenBytes > 8 * MIB));
  const late = request(halfSent(4 * MIB));
  late.stream.resume();
  const { status, details, pushback } = await late.closed;
  t.deepEqual([status, details, pushback], ['8', 'QUOTA_EXCEEDED', '100']);
  t.is((await call('Encrypt', { plaintext: Buffer.alloc(1000) })).response?.['key'], 'x');
  for (const { stream } of held) stream.close();
  t.true(await eventually(() => requestMemory.takenBytes === 0));
  session.destroy();
  t.is((await call('Encrypt', { plaintext: Buffer.alloc(3 * MIB) })).response?.['key'], 'x');
  t.is(requestMemory.takenBytes, 0);
});

test('health checks and reflection have small messages only', async (t) => {
  const requestMemory = new RequestMemory(MIB);
  const { path } = await startServer(t, {}, { requestMemory });
  const session = connectHttp2('http://localhost', { createConnection: () => connectSocket(path) });
  const stream = session.request({
    ':method': 'POST',
    ':path': '/grpc.health.v1.Health/Check',
    'content-type': 'application/grpc',
  });
  const headers = new Promise<unknown>((resolve) => stream.on('response', resolve));
  stream.resume();
  stream.write(halfSent(5000));
  t.like(await headers, { 'grpc-status': '8' });
  t.is(requestMemory.takenBytes, 0);
  session.destroy();
});

test('a message that does not come to its end is DEADLINE_EXCEEDED, and its stream is closed', async (t) => {
  const requestMemory = new RequestMemory(16 * MIB);
  const { path } = await startServer(t, { Encrypt: () => ({}) }, { requestMemory, tickMs: 20 });
  const { request } = connect(t, path);
  for (const body of [halfSent(4 * MIB), Buffer.alloc(3), Buffer.alloc(5)]) {
    const { stream, closed } = request(body);
    stream.resume();
    t.like(await closed, { status: '4', details: 'DEADLINE_EXCEEDED', rstCode: 0 });
    t.is(requestMemory.takenBytes, 0);
  }
});

test('a handler may take longer than a message may', async (t) => {
  const { call } = await startServer(t, { Encrypt: () => delay(400).then(() => ({ key: 'x' })) }, { tickMs: 10 });
  t.is((await call('Encrypt', {})).response?.['key'], 'x');
});

test('a reply that nobody reads is given up in the end', async (t) => {
  const requestMemory = new RequestMemory(16 * MIB);
  const handlers = { Decrypt: () => ({ plaintext: Buffer.alloc(MIB) }) };
  const { path } = await startServer(t, handlers, { requestMemory, tickMs: 10 });
  const { request } = connect(t, path, { initialWindowSize: 1024 });
  const { stream, seen } = request(Buffer.alloc(5), 'Decrypt');
  stream.end();
  t.true(await eventually(() => seen[':status'] === 200));
  // Not the request's any more, but the answer's.
  t.is(requestMemory.takenBytes, 1_048_580);
  t.true(await eventually(() => requestMemory.takenBytes === 0));
  stream.resume();
  t.true(await eventually(() => stream.rstCode === 8));
});

test('a caller whom no rule names is denied at its headers, hears why, and loses the stream that it does not end', async (t) => {
  const requestMemory = new RequestMemory(16 * MIB);
  let admitted = false;
  const options = { requestMemory, tickMs: 50, admits: () => admitted };
  const { path, call } = await startServer(t, { Encrypt: () => ({ key: 'x' }) }, options);
  const { request } = connect(t, path);
  const denied = request(halfSent(4 * MIB));
  denied.stream.resume();
  t.like(await denied.closed, { status: '7', details: 'POLICY_DENIED', rstCode: 0 });
  t.is(requestMemory.takenBytes, 0);
  const { error } = await call('Encrypt', { plaintext: Buffer.alloc(MIB) });
  t.is(error?.details, 'uid 1234 (gid 5678) may not call Encrypt: no rule names it');
  admitted = true;
  t.is((await call('Encrypt', {})).response?.['key'], 'x');
});

test('a connection whose socket nobody reads is ended when its reply is given up', async (t) => {
  const requestMemory = new RequestMemory(16 * MIB);
  const handlers = { Decrypt: () => ({ plaintext: Buffer.alloc(3 * MIB) }), Encrypt: () => ({ key: 'x' }) };
  const { path, call, connections } = await startServer(t, handlers, { requestMemory, tickMs: 10 });
  const socket = connectSocket(path);
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  socket.pause();
  const wide = frame(FRAME.windowUpdate, FLAG.none, 0, integer(2 ** 30));
  const body = frame(FRAME.data, FLAG.endStream, 1, Buffer.alloc(5));
  socket.write(Buffer.concat([opening(2 ** 30), wide, headersOf(1, keyAgent['Decrypt']!.path), body]));
  t.true(await eventually(() => requestMemory.takenBytes > 3 * MIB));
  t.true(await eventually(() => requestMemory.takenBytes === 0));
  t.is((await call('Encrypt', {})).response?.['key'], 'x');
  for (let tries = 0; tries < 200 && (await connections()) > 1; tries++) await delay(10);
  t.is(await connections(), 1);
});
