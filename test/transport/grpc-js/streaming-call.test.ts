import { connect as connectHttp2 } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { RequestMemory } from '../../../src/transport/request-memory.ts';
import { FLAG, FRAME, frame, integer } from '../../chaos/http2-frames.ts';
import { usedBytes } from '../../helpers/used-bytes.ts';
import { eventually, field, framed, headersOf, rawClient } from './raw-client.ts';
import { rawRequest, startServer } from './test-server.ts';

const MIB = 2 ** 20;
const REFLECTION = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
const WATCH = '/grpc.health.v1.Health/Watch';
/** list_services = "*" (grpc/reflection/v1/reflection.proto). */
const LIST = framed(field(7, Buffer.from('*')));
/** A stream's window that lets everything out. */
const WIDE = 2 ** 30;

const text = (frames: Buffer[]) => Buffer.concat(frames).toString('latin1');

test('reflection answers one question after the other, and ends with its caller’s questions', async (t) => {
  const { path } = await startServer(t, {});
  const client = rawClient(t, path, WIDE);
  client.send(headersOf(1, REFLECTION), frame(FRAME.data, FLAG.none, 1, Buffer.concat([LIST, LIST])));
  t.true(await eventually(() => text(client.frames(FRAME.data, 1)).split('dekd.v1.KeyAgent').length === 3));
  client.send(frame(FRAME.data, FLAG.endStream, 1));
  // Answer headers, and trailers.
  t.true(await eventually(() => client.frames(FRAME.headers, 1).length === 2));
});

test('while an answer has not left no further question is answered: what one asks and does not read makes nothing grow', async (t) => {
  const requestMemory = new RequestMemory(128 * MIB);
  const { path } = await startServer(t, {}, { requestMemory });
  const client = rawClient(t, path, 0);
  client.send(headersOf(1, REFLECTION), frame(FRAME.data, FLAG.none, 1, Buffer.concat(Array(60).fill(LIST))));
  t.true(await eventually(() => client.frames(FRAME.headers, 1).length === 1));
  await delay(50);
  const held = requestMemory.takenBytes;
  t.true(held > 60 * LIST.length && held < 60 * LIST.length + 200, `${held} bytes`);
  client.send(frame(FRAME.windowUpdate, FLAG.none, 1, integer(MIB)));
  t.true(await eventually(() => text(client.frames(FRAME.data, 1)).split('dekd.v1.KeyAgent').length === 61));
  client.send(frame(FRAME.data, FLAG.endStream, 1));
  t.true(await eventually(() => requestMemory.takenBytes === 0));
});

test('a reflection call has 64 questions; what is more is not even taken in', async (t) => {
  const { path } = await startServer(t, {});
  const flood = Buffer.concat(Array(3_000).fill(framed(Buffer.alloc(0))));
  const client = rawClient(t, path, WIDE);
  client.send(headersOf(1, REFLECTION), frame(FRAME.data, FLAG.none, 1, Buffer.concat(Array(64).fill(LIST))));
  t.true(await eventually(() => text(client.frames(FRAME.data, 1)).split('dekd.v1.KeyAgent').length === 65));
  t.is(client.frames(FRAME.headers, 1).length, 1);
  client.send(frame(FRAME.data, FLAG.none, 1, LIST));
  t.true(await eventually(() => client.frames(FRAME.headers, 1).length === 2));
  client.send(headersOf(3, REFLECTION), frame(FRAME.data, FLAG.none, 3, flood));
  t.true(await eventually(() => client.frames(FRAME.headers, 3).length === 1));
  t.deepEqual(client.frames(FRAME.data, 3), []);
});

test.serial('floods of questions whose answers are unread take no memory that grows with them', async (t) => {
  const { path } = await startServer(t, {});
  const first = rawClient(t, path, WIDE);
  first.send(headersOf(1, REFLECTION), frame(FRAME.data, FLAG.endStream, 1, LIST));
  t.true(await eventually(() => first.frames(FRAME.headers, 1).length === 2));
  const before = usedBytes();
  const client = rawClient(t, path, 0);
  const questions = Buffer.concat(Array(3_000).fill(framed(Buffer.alloc(0))));
  for (let stream = 1; stream < 128; stream += 2) {
    client.send(headersOf(stream, REFLECTION), frame(FRAME.data, FLAG.none, stream, questions));
    await delay(5);
  }
  await delay(100);
  // 192,000 questions, whose answers would be 75 MB.
  t.true(usedBytes() - before < 25 * MIB);
});

test('a caller that asks nothing, or reads nothing, loses its call', async (t) => {
  const { path } = await startServer(t, {}, { tickMs: 10 });
  const silent = rawClient(t, path, WIDE);
  silent.send(headersOf(1, REFLECTION), headersOf(3, WATCH));
  t.true(await eventually(() => [1, 3].every((stream) => silent.frames(FRAME.rstStream, stream).length === 1)));
  t.true([1, 3].every((stream) => silent.frames(FRAME.headers, stream).length === 1));
  const deaf = rawClient(t, path, 0);
  deaf.send(headersOf(1, REFLECTION), frame(FRAME.data, FLAG.none, 1, LIST));
  deaf.send(headersOf(3, WATCH), frame(FRAME.data, FLAG.endStream, 3, framed(Buffer.alloc(0))));
  t.true(await eventually(() => [1, 3].every((stream) => deaf.frames(FRAME.rstStream, stream).length === 1)));
  t.false(deaf.closed());
});

test('what is no message, or compressed, or too long ends a streaming call with its status', async (t) => {
  const { path } = await startServer(t, {});
  const http2 = connectHttp2('http://localhost', { createConnection: () => connectSocket(path) });
  const cases: [Buffer, string][] = [
    [framed(Buffer.of(0xff)), '3'],
    [Buffer.of(1, 0, 0, 0, 0), '12'],
    [framed(Buffer.alloc(5_000)), '8'],
    [Buffer.concat(Array(65).fill(LIST)), '8'],
  ];
  for (const [body, status] of cases) {
    t.is((await rawRequest(http2, 'Encrypt', { ':path': REFLECTION }, body))['grpc-status'], status);
  }
  // One of Watch's is all it may have.
  t.is((await rawRequest(http2, 'Encrypt', { ':path': WATCH }, Buffer.alloc(10)))['grpc-status'], '12');
  t.is((await rawRequest(http2, 'Encrypt', { ':path': WATCH }, Buffer.alloc(0)))['grpc-status'], '12');
  http2.close();
});
