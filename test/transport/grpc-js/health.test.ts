import { connect as connectHttp2 } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { RequestMemory } from '../../../src/transport/request-memory.ts';
import { FLAG, FRAME, frame } from '../../chaos/http2-frames.ts';
import { usedBytes } from '../../helpers/used-bytes.ts';
import { eventually, field, framed, headersOf, rawClient } from './raw-client.ts';
import { rawRequest, startServer } from './test-server.ts';

const MIB = 2 ** 20;
const WATCH = '/grpc.health.v1.Health/Watch';
const named = (service: string) => framed(field(1, Buffer.from(service)));
/** status = STATUS (grpc/health/v1/health.proto). */
const told = (...statuses: number[]) => Buffer.concat(statuses.map((status) => framed(Buffer.of(8, status))));
const [SERVING, NOT_SERVING, SERVICE_UNKNOWN] = [1, 2, 3] as const;

test('Check of an unknown service is NOT_FOUND, also to callers whom no rule names', async (t) => {
  const { path, server } = await startServer(t, {}, { admits: () => false });
  server.setHealth('', true);
  const http2 = connectHttp2('http://localhost', { createConnection: () => connectSocket(path) });
  const status = async (service: string) => {
    const headers = { ':path': '/grpc.health.v1.Health/Check' };
    return (await rawRequest(http2, 'Encrypt', headers, named(service)))['grpc-status'];
  };
  t.deepEqual([await status(''), await status('nobody')], ['0', '5']);
  http2.close();
});

test('Watch of an unknown service says so, and later what it has become; then each change once', async (t) => {
  const { path, server } = await startServer(t, {});
  const client = rawClient(t, path);
  client.send(headersOf(1, WATCH), frame(FRAME.data, FLAG.endStream, 1, named('late')));
  const said = () => Buffer.concat(client.frames(FRAME.data, 1));
  t.true(await eventually(() => said().equals(told(SERVICE_UNKNOWN))));
  server.setHealth('other', true);
  server.setHealth('late', true);
  t.true(await eventually(() => said().equals(told(SERVICE_UNKNOWN, SERVING))));
  server.setHealth('late', true);
  server.setHealth('late', false);
  t.true(await eventually(() => said().equals(told(SERVICE_UNKNOWN, SERVING, NOT_SERVING))));
});

test('who reads late hears the latest, not all that was', async (t) => {
  const { path, server } = await startServer(t, {});
  const client = rawClient(t, path, 0);
  client.send(headersOf(1, WATCH), frame(FRAME.data, FLAG.endStream, 1, named('x')));
  t.true(await eventually(() => client.frames(FRAME.headers, 1).length === 1));
  for (let change = 0; change < 100; change++) server.setHealth('x', change % 2 === 0);
  client.send(frame(FRAME.windowUpdate, FLAG.none, 1, Buffer.of(0, 0, 16, 0)));
  const said = () => Buffer.concat(client.frames(FRAME.data, 1));
  t.true(await eventually(() => said().equals(told(SERVICE_UNKNOWN, NOT_SERVING))));
});

test.serial('names that callers make up are forgotten with their calls', async (t) => {
  const requestMemory = new RequestMemory(128 * MIB);
  const { path, connections } = await startServer(t, {}, { requestMemory });
  const watch = async (round: number) => {
    const client = rawClient(t, path);
    for (let at = 0; at < 60; at++) {
      const name = `${round} ${at} `.padEnd(4_000, 'x');
      client.send(headersOf(2 * at + 1, WATCH), frame(FRAME.data, FLAG.endStream, 2 * at + 1, named(name)));
      // Within the window of the connection.
      if (at % 10 === 9) await eventually(() => client.frames(FRAME.data, 2 * at + 1).length === 1);
    }
    t.true(await eventually(() => client.frames(FRAME.data, 119).length === 1));
    // The names are part of what the connection holds.
    t.true(requestMemory.takenBytes > 60 * 4_000);
    client.socket.destroy();
    t.true(await eventually(() => requestMemory.takenBytes === 0));
  };
  for (let round = 0; round < 5; round++) await watch(round);
  const before = usedBytes();
  for (let round = 5; round < 55; round++) await watch(round);
  while ((await connections()) > 0) await delay(10);
  // 12 MB of names. What ended a moment ago may need a second collection.
  t.true(await eventually(() => usedBytes() - before < 6 * MIB), `${(usedBytes() - before) / MIB} MiB more`);
});
