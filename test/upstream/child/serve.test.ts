import { readSync, writeSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { closeKeyChannel, openKeyChannel } from '../../../src/crypto/native.ts';
import { encodeFrame, FrameReader } from '../../../src/upstream/child/frames.ts';
import { serve } from '../../../src/upstream/child/serve.ts';
import { type Recording, recordings } from './recording/provider.ts';
import { until } from './world.ts';

const MODULE = new URL('./recording/provider.ts', import.meta.url).href;
const KEY = Buffer.alloc(32, 9);
const WRAPPED = { kekVersion: '1', algorithm: 1, bytes: 'AAAA' };
let places = 0;

/** The agent's ends of the channels, and the provider at the other ends. */
interface Served {
  readonly provider: Recording;
  readonly replies: unknown[];
  readonly served: Promise<void>;
  readonly keyFd: number;
  readonly agent: Socket;
  send(message: object): void;
  sendKey(id: number): void;
  receiveKey(): Buffer | undefined;
  end(): void;
}

// `recordings` is of the whole process.
test.serial('open answers with the warnings, and is told', async (t) => {
  const { replies } = await begin(t);
  t.deepEqual(replies, [{ ready: ['recorded'] }]);
});

test.serial('a DEK to wrap comes over the key channel, and is zeroed', async (t) => {
  for (const kek of ['orders', 'refused']) {
    const { provider, replies, send, sendKey } = await begin(t);
    sendKey(1);
    send({
      id: 1,
      op: 'wrap',
      kek,
      context: [
        ['b', '1'],
        ['a', '2'],
      ],
      fresh: true,
    });
    t.true(await until(() => replies.length === 2));
    const ok = { kekVersion: '7', algorithm: 1, bytes: Buffer.from('wrapped').toString('base64') };
    const failure = { class: 'refused', scope: 'kek', message: 'no' };
    t.deepEqual(replies[1], kek === 'orders' ? { id: 1, ok } : { id: 1, failure });
    t.deepEqual(provider.seen[0]!.copy, KEY);
    t.true(isZero(provider.seen[0]!.memory));
    t.true(provider.calls[0]!.fresh);
    t.deepEqual(
      [...provider.contexts[0]!.pairs],
      [
        ['b', '1'],
        ['a', '2'],
      ],
    );
    const encoded = Buffer.from('00000002' + '0000000161' + '0000000132' + '0000000162' + '0000000131', 'hex');
    t.deepEqual(provider.contexts[0]!.encoded, encoded);
  }
});

test.serial('a DEK that was unwrapped goes over the key channel before its answer, and is zeroed', async (t) => {
  const { provider, replies, send, receiveKey } = await begin(t);
  send({ id: 3, op: 'unwrap', kek: 'orders', context: [], wrapped: WRAPPED, fresh: false });
  t.true(await until(() => replies.length === 2));
  t.deepEqual(replies[1], { id: 3, ok: {} });
  t.deepEqual(receiveKey(), Buffer.concat([Buffer.from('0000000000000003', 'hex'), Buffer.alloc(32, 5)]));
  t.true(isZero(provider.seen[0]!.memory));
});

test.serial('what has not the length of a DEK is invalid, and zeroed', async (t) => {
  const { provider, replies, send, receiveKey } = await begin(t);
  send({ id: 1, op: 'unwrap', kek: 'short', context: [], wrapped: WRAPPED, fresh: false });
  t.true(await until(() => replies.length === 2));
  t.like(replies[1], { id: 1, failure: { class: 'invalid' } });
  t.is(receiveKey(), undefined);
  t.true(isZero(provider.seen[0]!.memory));
});

test.serial('a cancelled call is answered at once; what comes later is zeroed and sent to nobody', async (t) => {
  const { provider, replies, send, receiveKey } = await begin(t);
  const { promise, resolve } = Promise.withResolvers<void>();
  provider.gate = promise;
  send({ id: 1, op: 'unwrap', kek: 'orders', context: [], wrapped: WRAPPED, fresh: false });
  t.true(await until(() => provider.calls.length === 1));
  send({ id: 1, op: 'cancel' });
  t.true(await until(() => replies.length === 2));
  t.like(replies[1], { id: 1, failure: { class: 'unreachable' } });
  t.true(provider.calls[0]!.signal.aborted);
  resolve();
  t.true(await until(() => provider.seen.length === 1 && isZero(provider.seen[0]!.memory)));
  send({ id: 1, op: 'cancel' });
  send({ id: 2, op: 'describe', kek: 'orders', fresh: false });
  t.true(await until(() => replies.length === 3));
  t.like(replies[2], { id: 2 });
  t.is(receiveKey(), undefined);
});

test.serial('a provider that throws at once fails its call', async (t) => {
  const { replies, send } = await begin(t);
  send({ id: 1, op: 'describe', kek: 'throws', fresh: false });
  t.true(await until(() => replies.length === 2));
  t.like(replies[1], { id: 1, failure: { class: 'unreachable' } });
});

test.serial('of a long life the newest versions are described; what no frame holds is a failure', async (t) => {
  const { replies, send } = await begin(t);
  send({ id: 1, op: 'describe', kek: 'long', fresh: false });
  t.true(await until(() => replies.length === 2));
  const { ok } = replies[1] as { ok: { versions: { version: string }[]; labels: unknown } };
  t.is(ok.versions.length, 100);
  t.is(ok.versions.at(-1)!.version, '9999');
  t.deepEqual(ok.labels, [['a', 'b']]);
  send({ id: 2, op: 'describe', kek: 'large', fresh: false });
  t.true(await until(() => replies.length === 3));
  t.like(replies[2], { id: 2, failure: { class: 'unreachable', message: 'the answer is too large' } });
});

test.serial('a request without its key ends the child', async (t) => {
  for (const writeWrong of [undefined, Buffer.alloc(40), Buffer.alloc(3)]) {
    const { provider, replies, served, keyFd, send } = await begin(t);
    if (writeWrong !== undefined) writeSync(keyFd, writeWrong);
    send({ id: 1, op: 'wrap', kek: 'orders', context: [], fresh: false });
    await t.throwsAsync(served, { name: 'ChannelError' });
    t.is(provider.seen.length, 0);
    t.is(replies.length, 1);
    t.true(provider.isClosed);
  }
});

test.serial('what is no frame ends the child', async (t) => {
  const { provider, served, agent } = await begin(t);
  agent.write('GET / HTTP/1.1\r\n');
  await t.throwsAsync(served, { name: 'FrameError' });
  t.true(provider.isClosed);
});

test.serial('the agent closes its end: the provider is closed, and calls under way are aborted', async (t) => {
  const { provider, send, end, served } = await begin(t);
  provider.gate = new Promise(() => undefined);
  send({ id: 1, op: 'unwrap', kek: 'orders', context: [], wrapped: WRAPPED, fresh: false });
  t.true(await until(() => provider.calls.length === 1));
  end();
  await served;
  t.true(provider.isClosed);
  t.true(provider.calls[0]!.signal.aborted);
});

test.serial('a provider is told whether another child follows', async (t) => {
  for (const isReplaced of [false, true]) {
    const { provider, send, end, served } = await begin(t);
    if (isReplaced) send({ op: 'retire' });
    end();
    await served;
    t.true(provider.isClosed);
    t.is(provider.isReplaced, isReplaced);
  }
});

test.serial('a provider gets what the child before it left', async (t) => {
  const { provider } = await begin(t);
  t.is(provider.handover?.read(), undefined);
  provider.handover?.write({ note: 1 });
  t.deepEqual(provider.handover?.read(), { note: 1 });
});

async function begin(t: ExecutionContext): Promise<Served> {
  const { agent, child } = await socketPair(t);
  const { parent: keyFd, child: childKeyFd } = openKeyChannel();
  let isOpen = false;
  const { parent, child: other } = openKeyChannel();
  const handover = { in: parent, out: other };
  const served = serve({ control: child, keyFd: childKeyFd, handover, onOpen: () => (isOpen = true) });
  served.catch(() => undefined);
  t.teardown(async () => {
    agent.end();
    await served.catch(() => undefined);
    for (const fd of [keyFd, childKeyFd, parent, other]) closeKeyChannel(fd);
  });
  const replies: unknown[] = [];
  const reader = new FrameReader();
  agent.on('data', (chunk: Buffer) => replies.push(...reader.read(chunk)));
  const send = (message: object): void => void agent.write(encodeFrame(message));
  send({ op: 'open', module: MODULE, options: { type: 'vault-transit' } });
  t.true(await until(() => isOpen && replies.length === 1));
  return {
    provider: recordings.at(-1)!,
    replies,
    served,
    keyFd,
    agent,
    send,
    sendKey: (id) => {
      const packet = Buffer.concat([Buffer.alloc(8), KEY]);
      packet.writeBigUInt64BE(BigInt(id));
      writeSync(keyFd, packet);
    },
    receiveKey: () => {
      const packet = Buffer.alloc(100);
      try {
        return packet.subarray(0, readSync(keyFd, packet));
      } catch {
        return undefined;
      }
    },
    end: () => void agent.end(),
  };
}

async function socketPair(t: ExecutionContext): Promise<{ agent: Socket; child: Socket }> {
  const path = join(tmpdir(), `dekd-serve-${process.pid}-${places++}-${Math.random().toString(36).slice(2)}`);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const agent = connect(path);
  const [child] = await Promise.all([
    new Promise<Socket>((resolve) => server.once('connection', resolve)),
    new Promise((resolve) => agent.once('connect', resolve)),
  ]);
  server.close();
  t.teardown(() => agent.destroy());
  return { agent, child };
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
