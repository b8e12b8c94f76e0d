import { connect as connectHttp2 } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Metadata } from '@grpc/grpc-js';
import test from 'ava';
import { DekdError } from '../../../src/errors.ts';
import { OutgoingMessage } from '../../../src/transport/grpc-js/outgoing-message.ts';
import type { Call } from '../../../src/transport/transport.ts';
import { CALLER, keyAgent, rawRequest, startServer } from './test-server.ts';

function requestId(value: string): Metadata {
  const metadata = new Metadata();
  metadata.set('x-dekd-request-id', value);
  return metadata;
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

/** Waits, at most a second, for what the server does after its answer. */
async function eventually(condition: () => boolean): Promise<boolean> {
  for (let tries = 0; tries < 100 && !condition(); tries++) await delay(10);
  return condition();
}

test('a plain value answers, with the request decoded', async (t) => {
  let seen: Record<string, unknown> = {};
  const { call } = await startServer(t, {
    Encrypt: (request) => {
      seen = { ...request, plaintext: Buffer.from(request.plaintext) };
      return { ciphertext: Buffer.from('sealed'), key: request.key, generation: 7, outdated: true };
    },
  });
  const { response, error } = await call('Encrypt', {
    key: 'orders',
    plaintext: Buffer.from('hello'),
    encryption_context: { tenant: 'acme', ['__proto__']: 'x' },
  });
  t.is(error, undefined);
  t.deepEqual(response, {
    ciphertext: Buffer.from('sealed'),
    key: 'orders',
    generation: 7,
    served_in_grace: false,
    outdated: true,
  });
  t.is(seen['key'], 'orders');
  t.deepEqual(seen['plaintext'], Buffer.from('hello'));
  t.deepEqual(Object.entries(seen['encryption_context'] as object), [
    ['tenant', 'acme'],
    ['__proto__', 'x'],
  ]);
  t.is(seen['dry_run'], false);
});

test('a promise answers', async (t) => {
  const { call } = await startServer(t, {
    Decrypt: async (request) => {
      await delay(20);
      return { plaintext: request.ciphertext };
    },
  });
  const { response } = await call('Decrypt', { ciphertext: Buffer.from('views stay alive until the promise settles') });
  t.deepEqual(response?.['plaintext'], Buffer.from('views stay alive until the promise settles'));
});

test('an empty message is a message', async (t) => {
  const { callRaw } = await startServer(t, { Encrypt: (request) => ({ key: `<${request.key}>` }) });
  t.is((await callRaw('Encrypt', new Uint8Array(0))).response?.['key'], '<>');
});

test('the handler knows method and caller', async (t) => {
  let seen: Call | undefined;
  const { call } = await startServer(t, {
    Encrypt: (_, given) => {
      seen = given;
      return {};
    },
  });
  await call('Encrypt', {});
  t.is(seen?.method, 'dekd.v1.KeyAgent/Encrypt');
  t.deepEqual(seen?.principal, CALLER);
});

for (const [kind, handler] of Object.entries({
  'a throwing': () => {
    throw new DekdError('UPSTREAM_UNAVAILABLE', 'no KMS – nirgends', { retryAfterMs: 250 });
  },
  'a rejecting': async () => {
    await delay(1);
    throw new DekdError('UPSTREAM_UNAVAILABLE', 'no KMS – nirgends', { retryAfterMs: 250 });
  },
})) {
  test(`${kind} handler gives code, message, details and pushback`, async (t) => {
    const { call } = await startServer(t, { Encrypt: handler });
    const { error } = await call('Encrypt', {});
    t.is(error?.code, 14);
    t.is(error?.details, 'no KMS – nirgends');
    t.deepEqual(error?.metadata.get('grpc-status-details-bin'), [Buffer.from('UPSTREAM_UNAVAILABLE')]);
    t.deepEqual(error?.metadata.get('grpc-retry-pushback-ms'), ['250']);
  });
}

test('a message with half a surrogate pair does not break the answer', async (t) => {
  const { call } = await startServer(t, {
    Encrypt: () => {
      throw new DekdError('UPSTREAM_UNAVAILABLE', 'half \ud83d');
    },
  });
  t.is((await call('Encrypt', {})).error?.details, 'half \uFFFD');
});

test('a failing toStatus and a response that cannot be serialised are INTERNAL', async (t) => {
  const broken = await startServer(
    t,
    {
      Encrypt: () => {
        throw new Error('secret');
      },
    },
    {
      toStatus: () => {
        throw new Error('broken');
      },
    },
  );
  const { error } = await broken.call('Encrypt', {});
  t.is(error?.code, 13);
  t.is(error?.details, 'internal error');
  const { call } = await startServer(t, { Encrypt: () => [], Decrypt: () => undefined });
  t.is((await call('Encrypt', {})).error?.code, 13);
  t.is((await call('Decrypt', {})).error?.code, 13);
});

test('malformed messages are INVALID_ARGUMENT with details', async (t) => {
  const { callRaw } = await startServer(t, { Encrypt: () => t.fail('no handler may see this') });
  const cases: [number[], string][] = [
    [[0x0a, 1, 0xff], 'key: is not valid UTF-8'],
    [[0x1a, 3, 0x0a, 1, 0xc3], 'encryption_context.key: is not valid UTF-8'],
    [[0x1a, 3, 0x12, 1, 0xc3], 'encryption_context.value: is not valid UTF-8'],
    [[0x0a, 9, 0x61], 'key: does not end where it should'],
    [[0xff], ': holds an invalid field tag'],
  ];
  for (const [bytes, message] of cases) {
    const { error } = await callRaw('Encrypt', Uint8Array.from(bytes));
    t.is(error?.code, 3);
    t.is(error?.details, message);
    t.is(String(error?.metadata.get('grpc-status-details-bin')[0]), `INVALID_REQUEST ${message.split(':')[0]}`);
  }
});

test('a message of 4 MiB passes, 5 MiB are RESOURCE_EXHAUSTED with details, and the connection lives on', async (t) => {
  const { call, callRaw, connections } = await startServer(t, {
    Encrypt: (request) => ({ generation: request.plaintext.length }),
    Decrypt: () => ({ plaintext: Buffer.alloc(6 * 1024 * 1024, 1) }),
  });
  const plaintext = Buffer.alloc(4 * 1024 * 1024 - 5);
  t.is((await call('Encrypt', { plaintext })).response?.['generation'], plaintext.length);
  const { error } = await callRaw('Encrypt', new Uint8Array(5 * 1024 * 1024));
  t.is(error?.code, 8);
  t.is(error?.details, 'a message has at most 4194304 bytes');
  t.is(String(error?.metadata.get('grpc-status-details-bin')[0]), 'MESSAGE_TOO_LARGE');
  t.is((await call('Decrypt', {})).response?.['plaintext'] instanceof Buffer, true);
  t.is(await connections(), 1);
});

test('a well-formed request id comes back, also on errors; others are replaced', async (t) => {
  const seen: string[] = [];
  const { call, callRaw } = await startServer(t, {
    Encrypt: (_, given) => {
      seen.push(given.requestId, given.requestId);
      return {};
    },
    Decrypt: () => {
      throw new DekdError('INTERNAL', 'x');
    },
  });
  const metadata = requestId('a-Z_0.9:x');
  const good = await call('Encrypt', {}, { metadata });
  t.deepEqual(good.initial.get('x-dekd-request-id'), ['a-Z_0.9:x']);
  const failed = await call('Decrypt', {}, { metadata });
  t.is(failed.error?.code, 13);
  t.deepEqual(failed.initial.get('x-dekd-request-id'), ['a-Z_0.9:x']);
  t.deepEqual((await call('Rewrap', {}, { metadata })).initial.get('x-dekd-request-id'), ['a-Z_0.9:x']);
  t.is((await callRaw('Encrypt', Uint8Array.of(0xff))).initial.get('x-dekd-request-id').length, 0);
  for (const bad of ['', 'a b', 'x'.repeat(65), 'a/b']) {
    t.deepEqual((await call('Encrypt', {}, { metadata: requestId(bad) })).initial.get('x-dekd-request-id'), [], bad);
  }
  t.is(seen[0], 'a-Z_0.9:x');
  const made = seen.slice(2);
  t.true(made.every((id) => /^[0-9a-f-]{36}$/.test(id)));
  t.is(new Set(made).size, made.length / 2);
});

test('a deadline ends the call with details, aborts the signal, and the late answer is dropped', async (t) => {
  let reason: unknown;
  let settled = false;
  const secret = Buffer.alloc(32, 1);
  const { path } = await startServer(t, {
    Decrypt: async (_, given) => {
      given.wipeLater(secret);
      await new Promise((resolve) => given.signal.addEventListener('abort', resolve));
      reason = given.signal.reason;
      await delay(20);
      settled = true;
      return { plaintext: secret };
    },
  });
  // Not a gRPC client, which would cancel the call at the same moment.
  const http2 = connectHttp2('http://localhost', { createConnection: () => connectSocket(path) });
  const received = await rawRequest(http2, 'Decrypt', { 'grpc-timeout': '100m' }, Buffer.alloc(5));
  t.is(received['grpc-status'], '4');
  t.is(Buffer.from(String(received['grpc-status-details-bin']), 'base64').toString(), 'DEADLINE_EXCEEDED');
  http2.close();
  t.true(await eventually(() => settled && isZero(secret)));
  t.is((reason as DekdError).reason, 'DEADLINE_EXCEEDED');
});

test('a deadline that passes while the reply is unread leaves the reply whole', async (t) => {
  const plaintext = Buffer.alloc(1 << 20, 0x41);
  const { path } = await startServer(t, { Decrypt: () => ({ plaintext }) });
  const http2 = connectHttp2('http://localhost', {
    createConnection: () => connectSocket(path),
    settings: { initialWindowSize: 1024 },
  });
  const stream = http2.request({
    ':method': 'POST',
    ':path': keyAgent['Decrypt']!.path,
    'content-type': 'application/grpc',
    'grpc-timeout': '100m',
  });
  let status: unknown;
  stream.on('trailers', (trailers) => {
    status = trailers['grpc-status'];
  });
  stream.end(Buffer.alloc(5));
  await delay(400);
  const body = Buffer.concat(await stream.toArray());
  http2.close();
  t.is(status, '0');
  t.is(body.filter((byte) => byte === 0x41).length, plaintext.length);
});

test('a caller that cancels aborts the signal, and the request is wiped once the handler is done', async (t) => {
  let reason: unknown;
  let plaintext: Buffer | undefined;
  let whole = false;
  const { start, call } = await startServer(t, {
    Encrypt: async (request, given) => {
      plaintext = request.plaintext;
      started();
      await new Promise((resolve) => given.signal.addEventListener('abort', resolve));
      await delay(20);
      whole = request.plaintext.equals(Buffer.from('keep me'));
      reason = given.signal.reason;
      return {};
    },
    Decrypt: () => ({}),
  });
  let started = () => {};
  const running = new Promise<void>((resolve) => {
    started = resolve;
  });
  const pending = start('Encrypt', { plaintext: Buffer.from('keep me') });
  await running;
  pending.call.cancel();
  t.is((await pending.answer).error?.code, 1);
  t.true(await eventually(() => reason !== undefined && isZero(plaintext!)));
  t.true(whole);
  t.is((reason as DekdError).reason, 'CANCELLED');
  t.is((await call('Decrypt', {})).error, undefined);
});

test('secrets that come when the call is over are zeroed at once', async (t) => {
  const calls: Call[] = [];
  const { call } = await startServer(t, {
    Encrypt: (_, given) => {
      calls.push(given);
      return {};
    },
    Decrypt: async (_, given) => {
      calls.push(given);
      await delay(1);
      throw new DekdError('CANCELLED', 'x');
    },
  });
  await call('Encrypt', {});
  await call('Decrypt', {});
  for (const late of calls) {
    const secret = Buffer.alloc(32, 1);
    late.wipeLater(secret);
    t.true(isZero(secret));
  }
  t.is(calls.length, 2);
});

test('the signal of a call that is over is aborted when it is first asked for', async (t) => {
  let late: Call | undefined;
  const { call } = await startServer(t, {
    Encrypt: (_, given) => {
      late = given;
      return {};
    },
  });
  await call('Encrypt', {});
  t.true(late?.signal.aborted);
});

// The frame is grpc-js's own; the stand-in for the serialised Buffer sees it.
const frames: Uint8Array[] = [];
const copy = OutgoingMessage.prototype.copy;
OutgoingMessage.prototype.copy = function (frame, offset) {
  frames.push(frame);
  return copy.call(this, frame, offset);
};

for (const [kind, wait] of [
  ['sync', 0],
  ['async', 10],
] as const) {
  test.serial(`request, secrets, serialised response and frame are zero after a ${kind} call`, async (t) => {
    frames.length = 0;
    const serialised: Buffer[] = [];
    const views: Buffer[] = [];
    const secret = Buffer.alloc(64, 7);
    const decrypt = keyAgent['Decrypt']!;
    const definition = {
      ...keyAgent,
      Decrypt: {
        ...decrypt,
        responseSerialize: (value: object) => {
          const bytes = decrypt.responseSerialize(value);
          serialised.push(bytes);
          return bytes;
        },
      },
    };
    const answer = (request: { ciphertext: Buffer; associated_data: Buffer }, given: Call) => {
      views.push(request.ciphertext, request.associated_data);
      given.wipeLater(secret);
      // A response may have views into the request: it is serialised before anything is zeroed.
      return { plaintext: secret, key: request.ciphertext.toString('latin1') };
    };
    const handlers = {
      Decrypt: wait === 0 ? answer : (...given: Parameters<typeof answer>) => delay(wait).then(() => answer(...given)),
    };
    const { call } = await startServer(t, {}, { services: [{ definition, handlers }] });
    const { response } = await call('Decrypt', {
      ciphertext: Buffer.from('abc'),
      associated_data: Buffer.alloc(9000, 5),
    });
    t.deepEqual(response?.['plaintext'], Buffer.alloc(64, 7));
    t.is(response?.['key'], 'abc');
    t.true(await eventually(() => frames.every(isZero)));
    t.is(frames.length, 1);
    t.is(views.length, 2);
    t.true(views.every(isZero));
    t.true(serialised.length === 1 && serialised.every(isZero));
    t.true(isZero(secret));
  });
}

test('only the bytes of the message are zeroed, not its neighbours in the same memory', async (t) => {
  const neighbours = Array.from({ length: 50 }, () => Buffer.from('a pooled neighbour'));
  const { call } = await startServer(t, {
    Encrypt: () => {
      neighbours.push(Buffer.from('a pooled neighbour'));
      return {};
    },
  });
  for (let round = 0; round < 200; round++) await call('Encrypt', { plaintext: Buffer.from('x') });
  t.true(neighbours.every((neighbour) => neighbour.equals(Buffer.from('a pooled neighbour'))));
});

test('a request that fails is zeroed as well', async (t) => {
  let view: Buffer | undefined;
  const { call } = await startServer(t, {
    Encrypt: (request) => {
      view = request.plaintext;
      throw new DekdError('INTERNAL', 'x');
    },
  });
  await call('Encrypt', { plaintext: Buffer.from('secret') });
  t.true(isZero(view!));
});
