import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { encodePairs } from '../../src/crypto/context.ts';
import { dekctl } from '../cli/run.ts';
import { type OpenBao, requireOpenBao } from '../counterparts/openbao/start.ts';
import { type Agent, ROOT, startAgent } from '../helpers/agent-process.ts';
import { childPids } from '../helpers/child-pids.ts';
import { eventually } from '../helpers/eventually.ts';
import { keyConfig, makePlace, type Place } from '../helpers/place.ts';
import { PYTHON, requirePython } from '../helpers/require-python.ts';
import { requireRoot } from '../helpers/require-root.ts';
import { keyNeedles, type Needle, scanMemory } from '../helpers/scan-memory.ts';
import { test } from '../helpers/serial.ts';
import {
  issueToken,
  makeAppRole,
  makeKek,
  policyOf,
  Servers,
  succeeds,
  writePolicy,
} from '../upstream/vault-transit/world.ts';
import { decrypt, encrypt, opening } from './orders.ts';

const servers = new Servers();
test.after.always(() => servers.stop());

interface World {
  readonly bao: OpenBao;
  readonly place: Place;
  readonly agent: Agent;
  readonly name: string;
}

/** An agent whose only key is protected by OpenBao, with the rights that docs/upstreams/vault-transit.md names and no others. */
async function world(
  t: ExecutionContext,
  address: 'address' | 'unixAddress',
  cache: object = {},
  key: object = {},
): Promise<World> {
  const bao = await servers.get();
  const { name, kek } = await makeKek(bao);
  await writePolicy(bao, name, policyOf(name));
  const { login } = await makeAppRole(t, bao, name);
  const approle = { role_id_file: login.roleIdFile, secret_id_file: login.secretIdFile };
  const place = makePlace(t, {
    upstreams: { vault: { type: 'vault-transit', addresses: [bao[address]], login: { approle } } },
    keys: {
      orders: keyConfig('orders', { recipients: [{ upstream: 'vault', kek, role: 'authority' }], cache, ...key }),
    },
  });
  return { bao, place, agent: await startAgent(t, place), name };
}

for (const address of ['address', 'unixAddress'] as const) {
  test(`over ${address}: what one agent encrypts, the next one opens; a rotation between them`, async (t) => {
    if (!requireOpenBao(t)) return;
    const { bao, place, agent, name } = await world(t, address);
    const ciphertext = await encrypt(agent, 'yesterday');
    t.is(await decrypt(agent, ciphertext), 'yesterday');
    t.is((await agent.stop()).code, 0);
    await succeeds(bao, 'POST', `transit/keys/${name}/rotate`);
    const next = await startAgent(t, place);
    t.is(await decrypt(next, ciphertext), 'yesterday');
    const { message } = await next.admin.call('DescribeKey', { key: 'orders' });
    t.regex(JSON.stringify(message), new RegExp(`vault-transit:transit/keys/${name}`));
  });
}

test('an outage: what is cached serves, a restarted agent starts and says what it lacks, and all heals', async (t) => {
  if (!requireOpenBao(t)) return;
  const { bao, place, agent } = await world(t, 'address');
  const ciphertext = await encrypt(agent, 'cached');
  bao.kill('SIGSTOP');
  t.teardown(() => bao.kill('SIGCONT'));
  t.is(await decrypt(agent, ciphertext), 'cached');
  await agent.stop();
  const next = await startAgent(t, place);
  const { reason } = await next.client.failure('Decrypt', opening(ciphertext));
  t.is(reason, 'UPSTREAM_UNAVAILABLE');
  bao.kill('SIGCONT');
  t.is(await eventually(() => decrypt(next, ciphertext)), 'cached');
});

test('of the DEKs hardly a copy is left in the child, and none in the agent', async (t) => {
  if (!requireOpenBao(t) || !requireRoot(t, 'only root may read their memory')) return;
  const { bao, agent, name } = await world(t, 'address', {}, { partition_by: ['tenant'] });
  const needles: Needle[] = [];
  for (let tenant = 0; tenant < 10; tenant++) {
    const context = { tenant: `t${tenant}` };
    const request = { key: 'orders', plaintext: Buffer.from('x'), encryption_context: context };
    const { ciphertext } = (await agent.client.call('Encrypt', request)).message;
    needles.push(...keyNeedles(`${tenant}`, await dekOf(bao, name, ciphertext, context)));
  }
  // The agent last: it stands still while it is searched, and a child that starts then would be late.
  const found = childPids(agent.pid).flatMap((pid) => scanMemory(pid, needles).findings);
  t.log(`left in the children: ${found.map(({ needle }) => needle).join('; ')}`);
  t.true(found.every(({ needle }) => needle.includes('base64')));
  // What Node's and the kernel's buffers hold of the last calls. Strings, and buffers that nobody zeroes, would leave every one.
  t.true(new Set(found.map(({ needle }) => needle.split(',')[0])).size <= 3);
  t.deepEqual(scanMemory(agent.pid, needles).findings, []);
});

/** By OpenBao itself, with a root token. */
async function dekOf(bao: OpenBao, name: string, envelope: Buffer, partition: Record<string, string>): Promise<Buffer> {
  const [ciphertext] = /vault:v1:[A-Za-z0-9+/]{80}/.exec(envelope.toString('latin1')) ?? [];
  const id = envelope.subarray(8, 40).toString('hex');
  const context = encodePairs(new Map(Object.entries({ ...partition, 'dekd:key': 'orders', 'dekd:id': id })));
  const body = { ciphertext, associated_data: context.toString('base64') };
  const { json } = await succeeds(bao, 'POST', `transit/decrypt/${name}`, body);
  return Buffer.from(json.data.plaintext, 'base64');
}

test('an envelope opens with tools/unwrap_vault_transit.py and nothing of dekd', async (t) => {
  if (!requireOpenBao(t) || !requirePython(t)) return;
  const { bao, place, agent } = await world(t, 'address');
  const file = join(place.directory, 'envelope');
  writeFileSync(file, await encrypt(agent, 'without dekd'));
  const script = join(ROOT, 'tools', 'unwrap_vault_transit.py');
  const env = { ...process.env, VAULT_ADDR: bao.address, VAULT_TOKEN: bao.rootToken };
  const opened = execFileSync(PYTHON, [script, file, '--context', 'tenant=acme'], { env });
  t.is(opened.toString(), 'without dekd');
  const fails = (context: string, more: object, line: RegExp): void => {
    const end = spawnSync(PYTHON, [script, file, '--context', context], { env: { ...env, ...more }, encoding: 'utf8' });
    t.like(end, { status: 1, stdout: '' });
    t.regex(end.stderr, line);
  };
  fails('tenant=umbrella', {}, /^\S+envelope: refused, unauthentic: .*context.*\n$/);
  fails(
    'tenant=acme',
    { VAULT_TOKEN: 'nobody' },
    /^vault-transit:transit\/keys\/\S+: HTTP 403 .*permission denied.*\n$/,
  );
  fails('tenant=acme', { VAULT_CACERT: '/nowhere/ca' }, /^\/nowhere\/ca: No such file or directory\n$/);
  fails('tenant=acme', { VAULT_TOKEN: '' }, /^VAULT_TOKEN is not set\n$/);
  fails('tenant=acme', { VAULT_ADDR: 'http://127.0.0.1:1' }, /^\S+envelope: URLError: .*refused.*\n$/);
  fails('tenant=acme', { VAULT_ADDR: 'vault' }, /^\S+envelope: ValueError: unknown url type.*\n$/);
});

test('status: of two keys at one OpenBao the one whose rights are gone is refused, the other is not named; a DEK from a standby says so', async (t) => {
  if (!requireOpenBao(t)) return;
  const bao = await servers.get();
  const [orders, carts] = [await makeKek(bao), await makeKek(bao)];
  const policy = `of-${orders.name}`;
  await writePolicy(bao, policy, policyOf(orders.name, carts.name));
  const { file } = await issueToken(t, bao, policy);
  const authority = (kek: string) => ({ upstream: 'vault', kek, role: 'authority' });
  const standby = { upstream: 'store', kek: 'local:carts', role: 'standby' };
  const place = makePlace(t);
  const directory = join(place.directory, 'keystore');
  place.configure({
    upstreams: {
      vault: { type: 'vault-transit', addresses: [bao.address], login: { token: { file } } },
      store: { type: 'local', directory, root_key: { file: place.rootKeyFile } },
    },
    keys: {
      orders: keyConfig('orders', { recipients: [authority(orders.kek)], cache: { mode: 'none' } }),
      carts: keyConfig('carts', { recipients: [authority(carts.kek), standby] }),
    },
  });
  const agent = await startAgent(t, place);
  const carry = { key: 'carts', plaintext: Buffer.from('x') };
  const { ciphertext } = (await agent.client.call('Encrypt', carry)).message;
  await encrypt(agent, 'x');
  const status = async () => (await dekctl(['status', '--admin-socket', place.adminSocket])).stdout.toString();
  t.notRegex(await status(), /REFUSED|OUTAGE|by standby/);

  await writePolicy(bao, policy, policyOf(carts.name));
  t.is(
    (await agent.client.failure('Encrypt', { key: 'orders', plaintext: Buffer.from('x') })).reason,
    'UPSTREAM_REFUSED',
  );
  t.regex(await status(), /^REFUSED +upstream vault: refused for .*\n {2}orders .*\n\n/m);

  t.is((await agent.stop()).code, 0);
  const next = await startAgent(t, place);
  await next.admin.call('StartDrill', { upstream: 'vault', duration: { seconds: 60 } });
  t.is((await next.client.call('Decrypt', { ciphertext })).message.plaintext.toString(), 'x');
  t.regex(await status(), /^ {2}decrypting +DEK .*, verified \S+ ago by standby, /m);
});
