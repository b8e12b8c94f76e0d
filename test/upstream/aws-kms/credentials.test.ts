import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { CreateKeyCommand } from '@aws-sdk/client-kms';
import test, { type ExecutionContext } from 'ava';
import { open } from '../../../src/upstream/aws-kms/provider.ts';
import { FRESH_MS } from '../../../src/upstream/child/child-provider.ts';
import { wrapContext } from '../../contract/upstream-context.ts';
import { fails } from '../../contract/upstream-contract.ts';
import { CALLS, makeRole, makeUser, type User } from '../../counterparts/moto/iam.ts';
import { startMoto } from '../../counterparts/moto/start.ts';
import { onDemand } from '../../counterparts/on-demand.ts';
import { adminClient, FRESH, LIVE, optionsFor, setEnvironment, someDek } from './world.ts';

// moto checks signatures and policies after the calls that make these.
const service = onDemand('moto', async (directory) => {
  const moto = await startMoto(directory, 4 * CALLS.makeUser + CALLS.makeRole);
  const user = (name: string, ...actions: string[]) => makeUser(moto.endpoint, name, allow(...actions));
  return {
    ...moto,
    root: await user('root', '*'),
    // As docs/upstreams/aws-kms.md gives it.
    agent: await user('agent', 'kms:Encrypt', 'kms:Decrypt', 'kms:DescribeKey'),
    reader: await user('reader', 'kms:DescribeKey'),
    assumer: await user('assumer', 'sts:AssumeRole'),
    role: await makeRole(moto.endpoint, 'dekd', allow('kms:Encrypt', 'kms:Decrypt')),
  };
});

const context = wrapContext({ 'dekd:key': 'orders' });

function allow(...actions: readonly string[]) {
  return { Effect: 'Allow', Action: actions, Resource: '*' };
}

async function world(t: ExecutionContext) {
  const moto = await service(t);
  if (moto === undefined) return undefined;
  const admin = adminClient(moto.endpoint, 'eu-west-1', moto.root);
  t.teardown(() => admin.destroy());
  const { KeyMetadata } = await admin.send(new CreateKeyCommand({ KeyUsage: 'ENCRYPT_DECRYPT' }));
  return { ...moto, kek: `aws-kms:${KeyMetadata!.Arn}` };
}

async function provider(t: ExecutionContext, endpoint: string, user: User, more = {}) {
  setEnvironment(user);
  const opened = await open(optionsFor(endpoint, more), {});
  t.teardown(() => opened.close());
  return opened;
}

// The environment is this thread's: one at a time.
test.serial('the rights of the page suffice', async (t) => {
  const found = await world(t);
  if (found === undefined) return;
  const { endpoint, agent, kek } = found;
  const opened = await provider(t, endpoint, agent);
  const wrapped = await opened.wrap(kek, someDek(), context, LIVE);
  t.deepEqual(await opened.unwrap(kek, wrapped, context, FRESH), someDek());
  t.is((await opened.describe(kek, LIVE)).state, 'active');
});

// moto answers all of these in XML, which KMS never does; the SDK cannot read it.
test.serial(
  'what moto says of rights, keys and signatures is not in the form of KMS: neither a refusal nor a crash',
  async (t) => {
    const found = await world(t);
    if (found === undefined) return;
    const { endpoint, root, reader, kek } = found;
    const unknown = { accessKeyId: 'AKIAAAAAAAAAAAAAAAAA', secretAccessKey: 'x' };
    for (const user of [reader, unknown, { ...root, secretAccessKey: 'wrong' }]) {
      const opened = await provider(t, endpoint, user);
      const failure = await fails(t, opened.wrap(kek, someDek(), context, LIVE), 'unreachable');
      t.regex(failure?.message ?? '', /SyntaxError \(HTTP 403, request \w+\)$/);
    }
  },
);

test.serial('the rights of a role that is assumed count, not those of who assumes it', async (t) => {
  const found = await world(t);
  if (found === undefined) return;
  const { endpoint, assumer, role, kek } = found;
  const opened = await provider(t, endpoint, assumer, { role, externalId: 'agent', stsEndpoint: endpoint });
  const wrapped = await opened.wrap(kek, someDek(), context, LIVE);
  for (const call of [LIVE, FRESH]) t.deepEqual(await opened.unwrap(kek, wrapped, context, call), someDek());
});

test.serial('a role that STS does not give is unauthenticated', async (t) => {
  const found = await world(t);
  if (found === undefined) return;
  const { endpoint, agent, role, kek } = found;
  const opened = await provider(t, endpoint, agent, { role, stsEndpoint: endpoint });
  const failure = await fails(t, opened.wrap(kek, someDek(), context, LIVE), 'unauthenticated');
  t.regex(failure?.message ?? '', /: no credentials: AccessDenied \(HTTP 403/);
  const away = await provider(t, endpoint, agent, { role, stsEndpoint: 'http://127.0.0.1:1' });
  await fails(t, away.wrap(kek, someDek(), context, LIVE), 'unauthenticated');
});

test.serial('no credentials at all are unauthenticated; a file that comes later is found', async (t) => {
  const found = await world(t);
  if (found === undefined) return;
  const { endpoint, root, kek } = found;
  const opened = await provider(t, endpoint, root);
  const directory = mkdtempSync(join(tmpdir(), 'dekd-aws-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'credentials');
  for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']) delete process.env[name];
  process.env['AWS_SHARED_CREDENTIALS_FILE'] = file;
  t.teardown(() => delete process.env['AWS_SHARED_CREDENTIALS_FILE']);
  const failure = await fails(t, opened.wrap(kek, someDek(), context, LIVE), 'unauthenticated');
  t.regex(failure?.message ?? '', /: no credentials: CredentialsProviderError$/);
  const { accessKeyId, secretAccessKey } = root;
  writeFileSync(file, `[default]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`);
  t.is((await opened.wrap(kek, someDek(), context, LIVE)).algorithm, 1);
});

test.serial(
  'a confirming call resolves the credentials anew, and so does one after credentials that were not taken',
  async (t) => {
    const seen: (string | undefined)[] = [];
    const server = createServer((request, response) => {
      seen.push(/Credential=(\w+)\//.exec(request.headers.authorization ?? '')?.[1]);
      response.writeHead(400, { 'content-type': 'application/x-amz-json-1.1' });
      const type = seen.length === 2 ? 'ExpiredTokenException' : 'DisabledException';
      response.end(JSON.stringify({ __type: type }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => server.close());
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const kek = 'aws-kms:arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab';
    const opened = await provider(t, endpoint, { accessKeyId: 'FIRST', secretAccessKey: 'x' });
    const call = (how: typeof LIVE) => opened.wrap(kek, someDek(), context, how);
    await fails(t, call(LIVE), 'refused', 'kek');
    setEnvironment({ accessKeyId: 'SECOND', secretAccessKey: 'x' });
    await fails(t, call(LIVE), 'unauthenticated');
    await fails(t, call(LIVE), 'refused', 'kek');
    setEnvironment({ accessKeyId: 'THIRD', secretAccessKey: 'x' });
    await fails(t, call(LIVE), 'refused', 'kek');
    // So long a confirmation waits at least.
    await setTimeout(FRESH_MS);
    await fails(t, call(FRESH), 'refused', 'kek');
    await fails(t, call(LIVE), 'refused', 'kek');
    t.deepEqual(seen, ['FIRST', 'FIRST', 'SECOND', 'SECOND', 'THIRD', 'THIRD']);
  },
);
