import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { UnsentAnswers } from '../../../src/transport/grpc-js/unsent-answers.ts';
import { RequestMemory } from '../../../src/transport/request-memory.ts';
import { callHeaders, FLAG, FRAME, frame, integer, opening } from '../../chaos/http2-frames.ts';
import { headersOf, rawClient } from './raw-client.ts';
import { keyAgent, rawRequest, startServer } from './test-server.ts';

const MIB = 2 ** 20;

function session(t: ExecutionContext, path: string, settings = {}): ClientHttp2Session {
  const opened = connectHttp2('http://localhost', { createConnection: () => connectSocket(path), settings });
  opened.on('error', () => {});
  t.teardown(() => opened.destroy());
  return opened;
}

async function eventually(condition: () => boolean): Promise<boolean> {
  for (let tries = 0; tries < 300 && !condition(); tries++) await delay(10);
  return condition();
}

/** How much is held by connections whose answers do not leave, from now on. */
function heldWork(t: ExecutionContext): () => number {
  const { hold, drop } = UnsentAnswers.prototype;
  const held = new Set<unknown>();
  UnsentAnswers.prototype.hold = function (work) {
    held.add(work);
    hold.call(this, work);
  };
  UnsentAnswers.prototype.drop = function (work) {
    held.delete(work);
    drop.call(this, work);
  };
  t.teardown(() => Object.assign(UnsentAnswers.prototype, { hold, drop }));
  return () => held.size;
}

/** Answers `calls` calls with a MiB each, all at once: none waits for another's answer to leave. */
function together(calls: number): () => Promise<object> {
  let begun = 0;
  let release = () => {};
  const all = new Promise<void>((resolve) => {
    release = resolve;
  });
  const ciphertext = Buffer.alloc(MIB);
  return async () => {
    if (++begun === calls) release();
    await all;
    return { ciphertext };
  };
}

test('a connection that resets its streams at once is ended within what was read of it at once', async (t) => {
  const { path, call } = await startServer(t, { Encrypt: () => ({ key: 'x' }) });
  await call('Encrypt', {});
  const target = '/rapid.Resets/Reset';
  let made = 0;
  const count = (message: unknown) => {
    if ((message as { headers: Record<string, unknown> }).headers[':path'] === target) made++;
  };
  subscribe('http2.server.stream.created', count);
  t.teardown(() => unsubscribe('http2.server.stream.created', count));
  const socket = connectSocket(path);
  socket.on('error', () => {});
  socket.resume();
  const block = callHeaders(target);
  const streams = Array.from({ length: 400 }, (_, at) => [
    frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 2 * at + 1, block),
    frame(FRAME.rstStream, FLAG.none, 2 * at + 1, integer(8)),
  ]);
  // Less than is read at a time: node:http2's own limit of resets would come into force after its end.
  socket.write(Buffer.concat([opening(), ...streams.flat()]));
  await new Promise((resolve) => socket.once('close', resolve));
  t.true(made > 0 && made <= 129, `${made} streams were made`);
  t.is((await call('Encrypt', {})).response?.['key'], 'x');
});

test('while answers do not leave, the calls of their connection wait, and others go on; then all are answered', async (t) => {
  let handled = 0;
  const ciphertext = Buffer.alloc(16 * 1024);
  const { path, call } = await startServer(t, {
    Encrypt: () => {
      handled++;
      return { ciphertext };
    },
    Decrypt: () => ({ key: 'x' }),
  });
  const http2 = session(t, path, { initialWindowSize: 0 });
  const answers = Array.from({ length: 64 }, () => rawRequest(http2, 'Encrypt', {}, Buffer.alloc(5)));
  // 16 have 256 KiB.
  t.true(await eventually(() => handled === 16));
  await delay(50);
  t.is(handled, 16);
  t.is((await call('Decrypt', {})).response?.['key'], 'x');
  http2.settings({ initialWindowSize: MIB });
  http2.setLocalWindowSize(8 * MIB);
  t.deepEqual([...new Set((await Promise.all(answers)).map((received) => received['grpc-status']))], ['0']);
  t.is(handled, 64);
});

test('a connection whose large answers wait to leave lives on, and takes further calls', async (t) => {
  const { path } = await startServer(t, { Encrypt: together(24), Decrypt: () => ({ key: 'x' }) });
  const http2 = session(t, path, { initialWindowSize: 0 });
  let answered = 0;
  const answers = Array.from({ length: 24 }, () =>
    rawRequest(http2, 'Encrypt', {}, Buffer.alloc(5), () => void answered++),
  );
  t.true(await eventually(() => answered === 24));
  const later = rawRequest(http2, 'Decrypt', {}, Buffer.alloc(5));
  await delay(100);
  http2.settings({ initialWindowSize: 2 * MIB });
  http2.setLocalWindowSize(64 * MIB);
  const codes = (await Promise.all([...answers, later])).map((received) => received['grpc-status']);
  t.deepEqual([...new Set(codes)], ['0']);
});

test('answers for which there is no memory are QUOTA_EXCEEDED, and what has left is given back', async (t) => {
  const requestMemory = new RequestMemory(4 * MIB);
  const { call } = await startServer(t, { Encrypt: together(8), Decrypt: () => ({ key: 'x' }) }, { requestMemory });
  await call('Decrypt', {});
  const answers = await Promise.all(Array.from({ length: 8 }, () => call('Encrypt', {})));
  const codes = answers.map(({ error }) => error?.code ?? 0);
  t.deepEqual(new Set(codes), new Set([0, 8]));
  t.is(answers.find(({ error }) => error?.code === 8)?.error?.metadata.get('grpc-retry-pushback-ms')[0], '100');
  t.true(await eventually(() => requestMemory.takenBytes === 0));
  t.is((await call('Decrypt', {})).error, undefined);
});

test.serial('streams that wait for answers to leave are forgotten when they are reset', async (t) => {
  const requestMemory = new RequestMemory(128 * MIB);
  const handlers = { Encrypt: () => ({ ciphertext: Buffer.alloc(300 * 1024) }) };
  const { path } = await startServer(t, handlers, { requestMemory });
  const { path: encrypt } = keyAgent['Encrypt']!;
  const client = rawClient(t, path, 0);
  client.send(headersOf(1, encrypt), frame(FRAME.data, FLAG.endStream, 1, Buffer.alloc(5)));
  t.true(await eventually(() => client.frames(FRAME.headers, 1).length === 1));
  const held = heldWork(t);
  for (let stream = 3; stream < 103; stream += 2) {
    client.send(headersOf(stream, encrypt, { 'x-large': 'x'.repeat(7_000) }));
    // A request that has come waits as well.
    if (stream % 4 === 3) client.send(frame(FRAME.data, FLAG.endStream, stream, Buffer.alloc(5)));
  }
  t.true(await eventually(() => held() === 50));
  for (let stream = 3; stream < 103; stream += 2) client.send(frame(FRAME.rstStream, FLAG.none, stream, integer(8)));
  t.true(await eventually(() => held() === 0));
  // The headers were held as well; what is left is the answer that nobody reads.
  t.true(await eventually(() => requestMemory.takenBytes < 301 * 1024));
});

test.serial('at the end of a drain streams that wait for answers to leave hear UNAVAILABLE, too', async (t) => {
  const handlers = { Encrypt: () => ({ ciphertext: Buffer.alloc(300 * 1024) }), Decrypt: () => ({}) };
  const { path, server } = await startServer(t, handlers);
  const http2 = session(t, path, { initialWindowSize: 0 });
  let answered = false;
  void rawRequest(http2, 'Encrypt', {}, Buffer.alloc(5), () => {
    answered = true;
  });
  t.true(await eventually(() => answered));
  const held = heldWork(t);
  const waiting = [1, 2, 3].map(() => rawRequest(http2, 'Decrypt', {}, Buffer.alloc(5)));
  t.true(await eventually(() => held() === 3));
  await server.drain(50);
  const ends = await Promise.all(waiting);
  t.deepEqual(
    ends.map((received) => received['grpc-status']),
    ['14', '14', '14'],
  );
});
