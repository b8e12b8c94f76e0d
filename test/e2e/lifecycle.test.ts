import { existsSync } from 'node:fs';
import { startAgent } from '../helpers/agent-process.ts';
import { PROTOS } from '../helpers/client.ts';
import { makePlace } from '../helpers/place.ts';
import { grpcFrame, openRawCall } from '../helpers/raw-call.ts';
import { test } from '../helpers/serial.ts';

/** Half a second is what dekd promises; a busy CI machine gets more. */
const MAX_START_MS = 3_000;
const CONTEXT = { tenant: 'acme' };

test('starts, encrypts and decrypts; after a restart yesterday’s ciphertexts open', async (t) => {
  const place = makePlace(t);
  const agent = await startAgent(t, place);
  t.log(`${agent.startMs.toFixed(0)} ms from the start of node to ready, on Node ${process.version}`);
  t.true(agent.startMs < MAX_START_MS);
  const plaintext = Buffer.from('yesterday');
  const { message } = await agent.client.call('Encrypt', { key: 'default', plaintext, encryption_context: CONTEXT });
  t.like(message, { key: 'default', generation: 0, served_in_grace: false, outdated: false });
  t.deepEqual((await agent.stop()).code, 0);
  t.false(existsSync(place.agentSocket));
  t.false(existsSync(place.adminSocket));

  const next = await startAgent(t, place);
  const opened = await next.client.call('Decrypt', { ciphertext: message.ciphertext, encryption_context: CONTEXT });
  t.deepEqual(opened.message.plaintext, plaintext);
  t.is((await next.stop()).code, 0);
});

test('a data key opens with Decrypt; without plaintext only its envelope comes back', async (t) => {
  const { client } = await startAgent(t, makePlace(t));
  const request = { key: 'default', number_of_bytes: 48, encryption_context: CONTEXT };
  const { message: made } = await client.call('GenerateDataKey', request);
  t.is(made.plaintext.length, 48);
  const opened = await client.call('Decrypt', { ciphertext: made.ciphertext, encryption_context: CONTEXT });
  t.deepEqual(opened.message.plaintext, made.plaintext);
  const { message: hidden } = await client.call('GenerateDataKeyWithoutPlaintext', request);
  t.false('plaintext' in hidden);
  const openedHidden = await client.call('Decrypt', { ciphertext: hidden.ciphertext, encryption_context: CONTEXT });
  t.is(openedHidden.message.plaintext.length, 48);
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal}: a running call is answered, open connections do not hold the agent up, it ends with 0`, async (t) => {
    const place = makePlace(t);
    const agent = await startAgent(t, place);
    const service = agent.client.definition['Encrypt'];
    const frame = grpcFrame(
      service?.requestSerialize({ key: 'default', plaintext: Buffer.from('late') }) ?? Buffer.alloc(0),
    );
    const call = await openRawCall(place.agentSocket, '/dekd.v1.KeyAgent/Encrypt');
    call.write(frame.subarray(0, 9));
    // A second connection that only ever waits.
    const watch = await openRawCall(place.agentSocket, '/grpc.health.v1.Health/Watch');
    watch.write(grpcFrame(Buffer.alloc(0)));
    watch.end();

    agent.kill(signal);
    await refused(place.agentSocket);
    call.write(frame.subarray(9));
    call.end();
    const { status, body } = await call.finished();
    t.is(status, '0');
    const { ciphertext } = decodeEncrypted(body.subarray(5));
    const ended = await agent.exit();
    t.deepEqual([ended.code, ended.signal], [0, null]);
    t.true(ended.stderr.includes('"event":"stopped"'));

    const next = await startAgent(t, place);
    t.is((await next.client.call('Decrypt', { ciphertext })).message.plaintext.toString(), 'late');
  });
}

test('a call that never ends is cut off after the time that `drain` allows', async (t) => {
  const place = makePlace(t, { drain: '1s' });
  const agent = await startAgent(t, place);
  const call = await openRawCall(place.agentSocket, '/dekd.v1.KeyAgent/Encrypt');
  call.write(Buffer.alloc(3));
  const startedAtMs = performance.now();
  t.is((await agent.stop()).code, 0);
  t.true(performance.now() - startedAtMs > 900);
  t.is((await call.finished()).status, '14');
});

test('`drain` is the time of both sockets together', async (t) => {
  const place = makePlace(t, { drain: '3s' });
  const agent = await startAgent(t, place);
  const paths = {
    [place.agentSocket]: '/dekd.v1.KeyAgent/Encrypt',
    [place.adminSocket]: '/dekd.v1.KeyAdmin/GetStatus',
  };
  const ends = Object.entries(paths).map(async ([socket, path]) => {
    const call = await openRawCall(socket, path);
    call.write(Buffer.alloc(3));
    return async () => {
      t.is((await call.finished()).status, '14');
      return performance.now();
    };
  });
  const finished = (await Promise.all(ends)).map((end) => end());
  t.is((await agent.stop()).code, 0);
  const [one, other] = (await Promise.all(finished)) as [number, number];
  // One after the other they would be 3 s apart.
  t.true(Math.abs(one - other) < 1_500, `${one} and ${other}`);
});

/** The agent has begun to stop: it takes no new connection. */
async function refused(socket: string): Promise<void> {
  for (;;) {
    try {
      const call = await openRawCall(socket, '/grpc.health.v1.Health/Check');
      call.end();
      await call.finished();
    } catch {
      return;
    }
  }
}

function decodeEncrypted(bytes: Buffer): { ciphertext: Buffer } {
  const type = PROTOS['dekd.v1.EncryptResponse'] as unknown as { deserialize(bytes: Buffer): { ciphertext: Buffer } };
  return type.deserialize(bytes);
}
