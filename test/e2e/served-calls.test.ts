import type { Client } from '@grpc/grpc-js';
import type { ExecutionContext } from 'ava';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import { makePlace, type Place } from '../helpers/place.ts';
import { grpcFrame, openRawCall } from '../helpers/raw-call.ts';
import { test } from '../helpers/serial.ts';

const CODES = { INVALID_ARGUMENT: 3, DEADLINE_EXCEEDED: 4, NOT_FOUND: 5, ALREADY_EXISTS: 6, UNIMPLEMENTED: 12 };
/** Declared, and served by no version yet. */
const UNSERVED = ['ReloadConfig'];

async function start(t: ExecutionContext): Promise<{ agent: Agent; place: Place }> {
  const place = makePlace(t);
  return { agent: await startAgent(t, place), place };
}

test('every call of both services is served, save those that say UNIMPLEMENTED', async (t) => {
  const { agent } = await start(t);
  for (const client of [agent.client, agent.admin]) {
    for (const rpc of Object.keys(client.definition)) {
      if (!UNSERVED.includes(rpc)) {
        // An empty request is good for some and bad for others: either way somebody looked at it.
        await client.call(rpc, {}).catch(({ code }) => t.is(code, CODES.INVALID_ARGUMENT, rpc));
        continue;
      }
      const failure = await client.failure(rpc, {});
      t.like(failure, { code: CODES.UNIMPLEMENTED, reason: 'UNIMPLEMENTED', domain: 'dekd' }, rpc);
      t.regex(failure.message, new RegExp(`/${rpc} is not served by this version`));
    }
  }
});

test('each service is on its own socket only', async (t) => {
  const { place } = await start(t);
  const crossed = [
    [place.agentSocket, '/dekd.v1.KeyAdmin/ListKeys'],
    [place.adminSocket, '/dekd.v1.KeyAgent/Encrypt'],
  ] as const;
  for (const [socket, path] of crossed) {
    const call = await openRawCall(socket, path);
    call.write(grpcFrame(Buffer.alloc(0)));
    call.end();
    t.is((await call.finished()).status, String(CODES.UNIMPLEMENTED));
  }
});

test('the administrative calls: create, list, rotate, status; reason and code of each failure', async (t) => {
  const { agent } = await start(t);
  const { client, admin } = agent;
  const { message: before } = await client.call('Encrypt', { key: 'default', plaintext: Buffer.from('before') });
  const { message: made } = await admin.call('CreateKey', { key: 'orders', labels: { team: 'payments' } });
  t.regex(made.kek, /^local:[0-9a-f]{16}\/orders$/);
  t.like(made, { key: 'orders', kek_version: '1', usable: true });
  const { message: listed } = await admin.call('ListKeys', {});
  t.deepEqual(
    listed.keys.map(({ key, state }: { key: string; state: string }) => [key, state]),
    [
      ['default', 'KEY_STATE_ACTIVE'],
      ['orders', 'KEY_STATE_ACTIVE'],
    ],
  );
  const { message: rotated } = await admin.call('RotateKey', { key: 'default' });
  t.like(rotated, { key: 'default', kek_version: '2', retired_deks: '1' });
  const { message: after } = await client.call('Encrypt', { key: 'default' });
  t.notDeepEqual(after.ciphertext.subarray(8, 40), before.ciphertext.subarray(8, 40));
  t.is((await client.call('Decrypt', { ciphertext: before.ciphertext })).message.plaintext.toString(), 'before');
  const { message: status } = await admin.call('GetStatus', {});
  t.like(status, { node_version: process.version, profile: 'development' });

  t.like(await admin.failure('CreateKey', { key: 'orders' }), { code: CODES.ALREADY_EXISTS, reason: 'KEY_EXISTS' });
  t.like(await admin.failure('CreateKey', { key: '' }), { code: CODES.INVALID_ARGUMENT, reason: 'INVALID_REQUEST' });
  const elsewhere = await admin.failure('CreateKey', { key: 'more', upstream: 'kms' });
  t.like(elsewhere, { code: CODES.INVALID_ARGUMENT, reason: 'INVALID_REQUEST', metadata: { field: 'upstream' } });
  t.like(await admin.failure('RotateKey', { key: 'absent' }), { code: CODES.NOT_FOUND, reason: 'KEY_NOT_FOUND' });
  t.like(await client.failure('DescribeKey', { key: 'absent' }), { code: CODES.NOT_FOUND, reason: 'KEY_NOT_FOUND' });
});

test('the request’s id comes back, on success and on failure; one that is not well formed does not', async (t) => {
  const { agent } = await start(t);
  const metadata = { 'x-dekd-request-id': 'order-7:a.b_c' };
  const answer = await agent.client.call('Encrypt', { key: 'default' }, { metadata });
  t.is(answer.headers['x-dekd-request-id'], 'order-7:a.b_c');
  const failure = await agent.client.failure('Encrypt', { key: '' }, { metadata });
  t.is(failure.headers['x-dekd-request-id'], 'order-7:a.b_c');
  const malformed = await agent.client.call(
    'Encrypt',
    { key: 'default' },
    { metadata: { 'x-dekd-request-id': 'a b' } },
  );
  t.is(malformed.headers['x-dekd-request-id'], undefined);
});

test('a call whose deadline passes ends with DEADLINE_EXCEEDED, by the agent’s own clock', async (t) => {
  const { place } = await start(t);
  const call = await openRawCall(place.agentSocket, '/dekd.v1.KeyAgent/Encrypt', { 'grpc-timeout': '50m' });
  call.write(Buffer.alloc(3));
  const { status, message } = await call.finished();
  t.is(status, String(CODES.DEADLINE_EXCEEDED));
  t.regex(message, /deadline/);
});

test('health of the process and of each service; an unknown service is NOT_FOUND', async (t) => {
  const { place, agent } = await start(t);
  const check = async (socket: string, service: string) => {
    const call = await openRawCall(socket, '/grpc.health.v1.Health/Check');
    call.write(grpcFrame(Buffer.concat([Buffer.of(0x0a, service.length), Buffer.from(service)])));
    call.end();
    const { status, body } = await call.finished();
    return [status, body.subarray(5).toString('hex')];
  };
  const serving = ['0', '0801'];
  t.deepEqual(await check(place.agentSocket, ''), serving);
  t.deepEqual(await check(place.agentSocket, 'dekd.v1.KeyAgent'), serving);
  t.deepEqual(await check(place.adminSocket, ''), serving);
  t.deepEqual(await check(place.adminSocket, 'dekd.v1.KeyAdmin'), serving);
  t.is((await check(place.agentSocket, 'nobody'))[0], String(CODES.NOT_FOUND));
  await agent.client.call('Encrypt', { key: 'default' });
});

test('reflection names the services of its socket, and gives their files', async (t) => {
  const { agent } = await start(t);
  const listServices = Buffer.of(0x3a, 0);
  const byService = (name: string) => Buffer.concat([Buffer.of(0x22, name.length), Buffer.from(name)]);
  for (const version of ['v1', 'v1alpha']) {
    const listed = await reflect(agent.client.connection, version, listServices);
    for (const name of ['dekd.v1.KeyAgent', 'grpc.health.v1.Health']) t.true(listed.includes(name), name);
    t.false(listed.includes('dekd.v1.KeyAdmin'));
    const file = await reflect(agent.client.connection, version, byService('dekd.v1.KeyAgent'));
    for (const name of ['EncryptRequest', 'encryption_context', 'DecryptBatch']) t.true(file.includes(name), name);
    t.true((await reflect(agent.admin.connection, version, listServices)).includes('dekd.v1.KeyAdmin'));
  }
});

function reflect(connection: Client, version: string, request: Buffer): Promise<Buffer> {
  const same = (bytes: Buffer): Buffer => bytes;
  const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`;
  const stream = connection.makeBidiStreamRequest(path, same, same, { deadline: Date.now() + 10_000 });
  return new Promise((resolve, reject) => {
    stream.once('data', (answer: Buffer) => resolve(answer));
    stream.once('error', reject);
    stream.write(request);
    stream.end();
  });
}
