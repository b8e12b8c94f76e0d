import { connect as connectHttp2 } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { headerListBytes, repairTimeout } from '../../../src/transport/grpc-js/request-headers.ts';
import { RequestMemory } from '../../../src/transport/request-memory.ts';
import { FRAME, frame, integer } from '../../chaos/http2-frames.ts';
import { eventually, headersOf, rawClient } from './raw-client.ts';
import { keyAgent, rawRequest, startServer } from './test-server.ts';

const MIB = 2 ** 20;
const ENCRYPT = keyAgent['Encrypt']!.path;

test('a header list has the size that RFC 9113 gives it', (t) => {
  t.is(headerListBytes({}), 0);
  t.is(headerListBytes({ ':path': '/x', 'set-cookie': ['a', 'bc'] }), 5 + 2 + 32 + 2 * (10 + 32) + 3);
});

test('time-outs: what a timer can not hold is shortened, what is none is refused', (t) => {
  const repaired = (value?: string) => {
    const headers = value === undefined ? {} : { 'grpc-timeout': value };
    repairTimeout(headers);
    return headers['grpc-timeout'];
  };
  t.is(repaired(), undefined);
  for (const value of ['1n', '99999999u', '99999999m', '2147483S', '35791M', '596H', '0S'])
    t.is(repaired(value), value);
  for (const value of ['2147484S', '99999999S', '35792M', '597H', '99999999H']) t.is(repaired(value), '2147483S');
  for (const value of ['', 'S', '1', '1s', '0.5S', '-1S', '1 S', '100000000n', '1S, 1S', '5Sx', 'x5S', '٣S']) {
    t.is(repaired(value), 'malformed', value);
  }
});

test('a call whose time-out is longer than a timer takes is served; one whose time-out is none is INVALID_ARGUMENT', async (t) => {
  const { path } = await startServer(t, { Encrypt: () => delay(20).then(() => ({ key: 'x' })) });
  const http2 = connectHttp2('http://localhost', { createConnection: () => connectSocket(path) });
  const status = async (timeout: string) =>
    (await rawRequest(http2, 'Encrypt', { 'grpc-timeout': timeout }, Buffer.alloc(5)))['grpc-status'];
  for (const timeout of ['596H', '597H', '99999999H']) t.is(await status(timeout), '0', timeout);
  for (const timeout of ['0.5S', '1000000000n', '5 S']) t.is(await status(timeout), '3', timeout);
  t.is(await status('1n'), '4');
  http2.close();
});

test('headers above 1 KiB a stream lie in the budget of requests, until the stream ends', async (t) => {
  const requestMemory = new RequestMemory(MIB);
  const { path, call } = await startServer(t, { Encrypt: () => ({ key: 'x' }) }, { requestMemory });
  const open = (bytes: number) => {
    const client = rawClient(t, path);
    for (let stream = 1; stream < 128; stream += 2)
      client.send(headersOf(stream, ENCRYPT, { 'x-large': 'x'.repeat(bytes) }));
    return client;
  };
  const small = open(600);
  t.true((await call('Encrypt', {})).error === undefined);
  t.is(requestMemory.takenBytes, 0);
  const large = [open(7_000), open(7_000), open(7_000)];
  // One MiB would be 1.3 MB of headers.
  t.true(await eventually(() => large.every((client) => client.seen.some(({ type }) => type === FRAME.rstStream))));
  const reset = large[0]!.seen.find(({ type }) => type === FRAME.rstStream);
  // ENHANCE_YOUR_CALM, which gRPC's clients take for RESOURCE_EXHAUSTED.
  t.deepEqual(reset?.payload, integer(11));
  t.true(requestMemory.takenBytes > MIB / 2 && requestMemory.takenBytes < MIB + 4 * 16_384);
  t.is((await call('Encrypt', {})).error, undefined);
  for (const client of [small, ...large]) client.socket.destroy();
  t.true(await eventually(() => requestMemory.takenBytes === 0));
});

test('a client that never confirms the limit of headers has it all the same', async (t) => {
  const { path } = await startServer(t, { Encrypt: () => ({ key: 'x' }) });
  const client = rawClient(t, path);
  const fields = (count: number, bytes: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, at) => [`x-${at}`, 'x'.repeat(bytes)]));
  for (const [stream, more] of [
    [1, fields(1, 60_000)],
    [3, fields(50, 1_000)],
    [5, fields(70, 1)],
  ] as const) {
    client.send(headersOf(stream, ENCRYPT, more));
    t.true(await eventually(() => client.frames(FRAME.rstStream, stream).length === 1), `${stream}`);
  }
  client.send(headersOf(7, ENCRYPT, fields(50, 80)), frame(FRAME.data, 1, 7, Buffer.alloc(5)));
  t.true(await eventually(() => client.frames(FRAME.headers, 7).length === 2));
  t.false(client.closed());
  // Once more, and again: it knows by now.
  for (let stream = 9; stream < 20; stream += 2) client.send(headersOf(stream, ENCRYPT, fields(1, 60_000)));
  t.true(await eventually(client.closed));
});
