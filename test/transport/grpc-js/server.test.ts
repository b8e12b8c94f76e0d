import { connect as connectSocket, createServer as createSocketServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Client, ClientDuplexStream, ClientReadableStream, MethodDefinition } from '@grpc/grpc-js';
import { loadSync, type ServiceDefinition } from '@grpc/proto-loader';
import test from 'ava';
import { handleOf } from '../../../src/transport/grpc-js/share.ts';
import { FLAG, FRAME, frame } from '../../chaos/http2-frames.ts';
import { headersOf, rawClient } from './raw-client.ts';
import { keyAgent, protos, startServer } from './test-server.ts';

type Method = MethodDefinition<object, Record<string, unknown>>;

const PROTO_OPTIONS = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };
const health = protos['grpc.health.v1.Health'] as ServiceDefinition;

function unary(client: Client, definition: ServiceDefinition, name: string, request: object) {
  const { path, requestSerialize, responseDeserialize } = definition[name] as unknown as Method;
  return new Promise<Record<string, unknown>>((resolve, reject) => {
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error, response) =>
      error === null ? resolve(response!) : reject(error),
    );
  });
}

function watch(
  client: Client,
  service: string,
): { stream: ClientReadableStream<object>; seen: unknown[]; ended: Promise<number> } {
  const { path, requestSerialize, responseDeserialize } = health['Watch'] as unknown as Method;
  const stream = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { service });
  const seen: unknown[] = [];
  stream.on('data', ({ status }) => seen.push(status));
  stream.on('error', () => {});
  const ended = new Promise<number>((resolve) => stream.on('status', ({ code }) => resolve(code)));
  return { stream, seen, ended };
}

/** A reflection stream: one answer for each question, in order. */
function reflect(client: Client, version: 'v1' | 'v1alpha') {
  const proto = join('grpc', 'reflection', version, 'reflection.proto');
  const root = join(import.meta.dirname, '..', '..', '..', 'node_modules', '@grpc', 'reflection', 'build', 'proto');
  const definition = loadSync(proto, { ...PROTO_OPTIONS, includeDirs: [root] })[
    `grpc.reflection.${version}.ServerReflection`
  ];
  const { path, requestSerialize, responseDeserialize } = (definition as ServiceDefinition)[
    'ServerReflectionInfo'
  ] as unknown as Method;
  const stream: ClientDuplexStream<object, Record<string, unknown>> = client.makeBidiStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
  );
  stream.on('error', () => {});
  const ask = (question: object) =>
    new Promise<Record<string, unknown>>((resolve) => {
      stream.once('data', resolve);
      stream.write(question);
    });
  return { stream, ask, ended: new Promise<number>((resolve) => stream.on('status', ({ code }) => resolve(code))) };
}

async function waitFor(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 200 && !condition(); tries++) await delay(10);
}

test('an RPC without a handler, an unknown one and an unknown service are UNIMPLEMENTED', async (t) => {
  const { call, client } = await startServer(t, {});
  const { error } = await call('Rewrap', {});
  t.is(error?.code, 12);
  t.is(error?.details, 'dekd.v1.KeyAgent/Rewrap is not served by this version');
  t.is(String(error?.metadata.get('grpc-status-details-bin')[0]), 'UNIMPLEMENTED');
  for (const path of ['/dekd.v1.KeyAgent/Nonsense', '/dekd.v1.KeyAdmin/GetStatus', '/x', '/é/😀']) {
    const code = await new Promise((resolve) => {
      client.makeUnaryRequest(path, Buffer.from, Buffer.from, 'x', (failure) => resolve(failure?.code));
    });
    t.true(code === 12 || path.startsWith('/é'), path);
  }
});

test('one server serves several sockets', async (t) => {
  const { call, listen, connect, connections } = await startServer(t, { Encrypt: () => ({ key: 'x' }) });
  const second = connect(await listen());
  t.is((await call('Encrypt', {})).response?.['key'], 'x');
  t.is((await call('Encrypt', {}, { client: second })).response?.['key'], 'x');
  t.is(await connections(), 2);
});

test('health: Check, List and Watch', async (t) => {
  const { server, client } = await startServer(t, {});
  server.setHealth('', true);
  server.setHealth('dekd.v1.KeyAgent', false);
  t.deepEqual(await unary(client, health, 'Check', { service: '' }), { status: 'SERVING' });
  t.deepEqual(await unary(client, health, 'Check', { service: 'dekd.v1.KeyAgent' }), { status: 'NOT_SERVING' });
  await t.throwsAsync(unary(client, health, 'Check', { service: 'nobody' }), { message: /NOT_FOUND/ });
  const { statuses } = await unary(client, health, 'List', {});
  t.deepEqual(statuses, { '': { status: 'SERVING' }, 'dekd.v1.KeyAgent': { status: 'NOT_SERVING' } });
  const { stream, seen } = watch(client, 'dekd.v1.KeyAgent');
  await waitFor(() => seen.length === 1);
  server.setHealth('dekd.v1.KeyAgent', true);
  await waitFor(() => seen.length === 2);
  t.deepEqual(seen, ['NOT_SERVING', 'SERVING']);
  stream.cancel();
});

for (const version of ['v1', 'v1alpha'] as const) {
  test(`reflection ${version}: services, symbols and the files that they import`, async (t) => {
    const { client } = await startServer(t, {});
    const { stream, ask } = reflect(client, version);
    const { list_services_response: list } = await ask({ list_services: '*' });
    t.deepEqual((list as { service: { name: string }[] }).service.map(({ name }) => name).sort(), [
      'dekd.v1.KeyAgent',
      'grpc.health.v1.Health',
    ]);
    for (const symbol of [
      'dekd.v1.KeyAgent',
      'dekd.v1.EncryptRequest',
      'grpc.health.v1.Health',
      'google.rpc.ErrorInfo',
    ]) {
      const { file_descriptor_response: files } = await ask({ file_containing_symbol: symbol });
      t.true((files as { file_descriptor_proto: Buffer[] }).file_descriptor_proto.length > 0, symbol);
    }
    const { error_response: unknown } = await ask({ file_containing_symbol: 'no.such.Thing' });
    t.is((unknown as { error_code: number }).error_code, 5);
    stream.end();
  });
}

test('drain waits for a running call, ends health and reflection streams, and refuses new connections', async (t) => {
  let finish: (() => void) | undefined;
  const { server, client, start, connect, call, connections } = await startServer(t, {
    Encrypt: () =>
      new Promise((resolve) => {
        finish = () => resolve({ key: 'done' });
      }),
  });
  server.setHealth('', true);
  const watching = watch(client, '');
  const reflecting = reflect(client, 'v1');
  await reflecting.ask({ list_services: '*' });
  await waitFor(() => watching.seen.length === 1);
  const { answer } = start('Encrypt', {});
  await waitFor(() => finish !== undefined);
  let drained = false;
  const drain = server.drain(5000).then(() => {
    drained = true;
  });
  t.is(await watching.ended, 14);
  t.is(await reflecting.ended, 14);
  await delay(50);
  t.false(drained);
  const late = await call('Encrypt', {}, { client: connect(), deadline: Date.now() + 300 });
  t.true([4, 14].includes(late.error?.code ?? 0));
  finish?.();
  t.is((await answer).response?.['key'], 'done');
  await drain;
  t.is(await connections(), 0);
});

test('drain ends what takes longer than its time with UNAVAILABLE', async (t) => {
  let running = false;
  let aborted: AbortSignal | undefined;
  const { server, start, connections } = await startServer(t, {
    Encrypt: (_, { signal }) => {
      running = true;
      aborted = signal;
      return new Promise(() => {});
    },
  });
  const { answer } = start('Encrypt', {});
  await waitFor(() => running);
  const begin = performance.now();
  await server.drain(100);
  t.true(performance.now() - begin < 2000);
  const { error } = await answer;
  t.true(aborted?.aborted);
  t.is(error?.code, 14);
  t.is(error?.details, 'the server is shutting down');
  t.is(await connections(), 0);
});

test('drain of a server without connections ends at once', async (t) => {
  const { server } = await startServer(t, {});
  const begin = performance.now();
  await server.drain(5000);
  t.true(performance.now() - begin < 500);
});

test.serial('headers that grpc-js does not take are written nowhere', async (t) => {
  const { path } = await startServer(t, { Encrypt: () => ({ key: 'x' }) });
  const written: unknown[][] = [];
  const { error } = console;
  console.error = (...text: unknown[]) => void written.push(text);
  t.teardown(() => {
    console.error = error;
  });
  const client = rawClient(t, path);
  const headers: [string, string][] = [
    ['x-tab', 'a\tb'],
    ['x-byte', '\u00e9'],
    ['x!y', 'z'],
    ['grpc-timeout', '\t'],
  ];
  for (const [at, [name, value]] of headers.entries()) {
    const stream = 2 * at + 1;
    client.send(headersOf(stream, keyAgent['Encrypt']!.path, { [name]: value }));
    client.send(frame(FRAME.data, FLAG.endStream, stream, Buffer.alloc(5)));
    await waitFor(() => client.frames(FRAME.headers, stream).length > 0);
    t.true(client.frames(FRAME.headers, stream).length > 0, name);
  }
  t.deepEqual(written, []);
});

test('a connection that waited to be served rests with the others of its uid', async (t) => {
  const orders: string[] = [];
  const sockets: Socket[] = [];
  const { call, path, server } = await startServer(t, {
    // More than the time of a turn: what else has come waits, and nothing is read.
    Encrypt: () => {
      for (const begin = performance.now(); performance.now() - begin < 10; );
      return {};
    },
  });
  const listener = createSocketServer();
  const second = `${path}-2`;
  await new Promise<void>((resolve) => listener.listen(second, resolve));
  t.teardown(() => listener.close());
  server.attach(listener);
  listener.on('connection', (socket) => {
    if (sockets.push(socket) !== 84) return;
    // The last one waits some 400 ms, since it was attached.
    const handle = handleOf(socket)!;
    for (const order of ['readStop', 'readStart'] as const) {
      const original = handle[order];
      handle[order] = function (this: unknown, ...given: []) {
        orders.push(order);
        return original.apply(this as never, given);
      };
    }
  });
  await call('Encrypt', {});
  for (let count = 0; count < 84; count++) {
    const socket = connectSocket(second);
    socket.on('error', () => {});
    t.teardown(() => socket.destroy());
  }
  await waitFor(() => sockets.length === 84);
  const calls = Array.from({ length: 60 }, () => call('Encrypt', {}));
  await waitFor(() => orders.length > 0);
  t.deepEqual(orders.slice(0, 2), ['readStart', 'readStop']);
  await Promise.all(calls);
});
