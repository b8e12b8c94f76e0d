// A plaintext that came and was not wanted is zeroed like one that was used: in a second it is nowhere in the agent's memory, however the call ended.
import { randomBytes } from 'node:crypto';
import { chmodSync } from 'node:fs';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MethodDefinition } from '@grpc/grpc-js';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import { callersAt } from '../helpers/callers.ts';
import { makePlace } from '../helpers/place.ts';
import { requireRoot } from '../helpers/require-root.ts';
import { type Needle, scanMemory } from '../helpers/scan-memory.ts';
import { test } from '../helpers/serial.ts';

const MARK_BYTES = 32;
/** Of its mark in one plaintext. */
const TIMES = 100;
const MOST_LEFT = 12;
/** Of eleven plaintexts: the memory into which node:http2 reads it frees as it is, and what is not filled anew by the calls that follow stays. */
const MOST_KEPT = 2;
/** No rule names it. */
const STRANGER = { uid: 65_533 };
const UNIMPLEMENTED = '12';
const RESOURCE_EXHAUSTED = '8';

const ENDS: Record<string, { readonly code: string; readonly body: (message: Buffer) => Buffer }> = {
  'a compressed message': { code: UNIMPLEMENTED, body: (message) => frame(message, 1) },
  'a message that is too long': { code: RESOURCE_EXHAUSTED, body: (message) => frame(message, 0, 5 << 20) },
  'a message with three bytes behind it': {
    code: UNIMPLEMENTED,
    body: (message) => Buffer.concat([frame(message), Buffer.of(0, 0, 1)]),
  },
  'two messages': { code: UNIMPLEMENTED, body: (message) => Buffer.concat([frame(message), frame(message)]) },
  'a message and one that is too long': {
    code: UNIMPLEMENTED,
    body: (message) => Buffer.concat([frame(message), frame(Buffer.alloc(0), 0, 5 << 20)]),
  },
};

function frame(message: Buffer, compressed = 0, length = message.length): Buffer {
  const header = Buffer.alloc(5);
  header[0] = compressed;
  header.writeUInt32BE(length, 1);
  return Buffer.concat([header, message]);
}

/** The call's code; `late` is sent when the answer is there. */
async function send(
  http2: ClientHttp2Session,
  { path }: { path: string },
  body: Buffer,
  late: Buffer,
): Promise<string> {
  const stream = http2.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  let code = '';
  stream.on('response', (headers) => {
    code ||= String(headers['grpc-status'] ?? '');
  });
  stream.on('trailers', (headers) => {
    code ||= String(headers['grpc-status'] ?? '');
  });
  stream.on('error', () => {});
  stream.resume();
  stream.write(body);
  for (let tries = 0; code === '' && tries < 200; tries++) await sleep(10);
  stream.end(late);
  for (let tries = 0; !stream.closed && tries < 200; tries++) await sleep(10);
  return code;
}

test('no plaintext of a refused call is left, nor one that came after its end', async (t) => {
  if (!requireRoot(t, 'an agent is not dumpable, only root may read its memory')) return;
  const place = makePlace(t);
  place.configure({
    listen: {
      agent: { path: place.agentSocket, mode: '0666' },
      admin: { path: place.adminSocket, mode: '0600' },
    },
  });
  chmodSync(place.directory, 0o755);
  const agent = await startAgent(t, place);
  const needles: Needle[] = [];
  const marked = (name: string): Buffer => {
    const bytes = randomBytes(MARK_BYTES);
    needles.push({ name, bytes });
    return Buffer.concat(Array<Buffer>(TIMES).fill(bytes));
  };
  const method = agent.client.definition['Encrypt'] as MethodDefinition<object, object>;
  const http2 = connectHttp2('http://localhost', { createConnection: () => connectSocket(place.agentSocket) });
  t.teardown(() => http2.destroy());
  for (const [name, { code, body }] of Object.entries(ENDS)) {
    const message = method.requestSerialize({ key: 'default', plaintext: marked(name) });
    t.is(await send(http2, method, body(message), marked(`after ${name}`)), code, name);
  }
  const [denied] = await callersAt(t, place).data(STRANGER, [
    'Encrypt',
    { key: 'default', plaintext: marked('a call that is denied at its headers') },
  ]);
  t.is(denied?.reason, 'POLICY_DENIED');
  await servesAsBefore(agent);
  await sleep(1_000);
  const { findings } = scanMemory(agent.pid, needles);
  const kept = needles.filter(({ name }) => {
    const copies = findings.filter(({ needle }) => needle === name).length;
    t.log(`${name}: ${copies}`);
    return copies > MOST_LEFT;
  });
  t.true(kept.length <= MOST_KEPT, kept.map(({ name }) => name).join(', '));
});

/** What these calls bring fills the memory into which node:http2 read the ones before, and which it frees as it is: that is out of reach. */
async function servesAsBefore({ client }: Agent): Promise<void> {
  for (let count = 0; count < 16; count++) {
    await client.call('Encrypt', { key: 'default', plaintext: Buffer.alloc(64 * 1024, count + 1) });
  }
}
