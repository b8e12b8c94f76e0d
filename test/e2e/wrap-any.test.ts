import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { parseDekBlock } from '../../src/crypto/dek-block.ts';
import { parseEnvelope } from '../../src/crypto/envelope.ts';
import { type DurableOpenBao, startDurableOpenBao } from '../counterparts/openbao/durable.ts';
import { requireOpenBao } from '../counterparts/openbao/start.ts';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import { eventually } from '../helpers/eventually.ts';
import { keyConfig, makePlace, type Place } from '../helpers/place.ts';
import { test } from '../helpers/serial.ts';
import { secretFile } from '../upstream/vault-transit/world.ts';

const DEKCTL = fileURLToPath(new URL('../../src/cli/dekctl.ts', import.meta.url));
const AUTHORITY = { upstream: 'vault', kek: 'vault-transit:transit/keys/orders', role: 'authority' };
const STANDBY = { upstream: 'store', kek: 'local:orders', role: 'standby' };

interface World {
  readonly bao: DurableOpenBao;
  readonly place: Place;
  readonly upstreams: Readonly<Record<'vault' | 'store', object>>;
}

/** Keys `any` and `all`, of an authority in OpenBao and a standby beside the agent. */
async function world(t: ExecutionContext): Promise<World> {
  const bao = await startDurableOpenBao();
  t.teardown(() => bao.stop());
  await bao.call('POST', 'sys/mounts/transit', { type: 'transit' });
  await bao.call('POST', 'transit/keys/orders');
  const { auth } = await bao.call('POST', 'auth/token/create', { ttl: '1h' });
  const place = makePlace(t);
  const login = { token: { file: secretFile(t, auth.client_token) } };
  const upstreams = {
    vault: { type: 'vault-transit', addresses: [bao.address], login },
    store: {
      type: 'local',
      directory: join(place.directory, 'keystore'),
      root_key: { file: place.rootKeyFile },
      durable: true,
    },
  };
  const both = { recipients: [AUTHORITY, STANDBY], partition_by: ['tenant'], cache: { ttl: '2s', grace: '1h' } };
  place.configure({
    upstreams,
    keys: { any: keyConfig('any', { ...both, wrap: 'any' }), all: keyConfig('all', both) },
  });
  return { bao, place, upstreams };
}

/** The same agent with one recipient of the two. */
function alone({ place, upstreams }: World, recipient: typeof AUTHORITY): void {
  const { upstream } = recipient;
  place.configure({
    upstreams: { [upstream]: upstreams[upstream as 'vault' | 'store'] },
    keys: { any: keyConfig('any', { recipients: [{ ...recipient, role: 'authority' }] }) },
  });
}

async function encrypt({ client }: Agent, key: string, tenant: string): Promise<Buffer> {
  const request = { key, plaintext: Buffer.from(`of ${tenant}`), encryption_context: { tenant } };
  return (await client.call('Encrypt', request)).message.ciphertext;
}

async function decrypt({ client }: Agent, ciphertext: Buffer, tenant: string): Promise<string> {
  const request = { ciphertext, encryption_context: { tenant } };
  return (await client.call('Decrypt', request)).message.plaintext.toString();
}

/** The types of the recipients that a ciphertext is wrapped for. */
function wrappedFor(ciphertext: Buffer): string[] {
  return parseDekBlock(parseEnvelope(ciphertext).block!).recipients.map(({ kekUri }) => kekUri.split(':')[0] ?? '');
}

/** What GetStatus counts, and how many DEKs DescribeKey says that the authority lacks. */
async function missing({ admin, client }: Agent): Promise<[counted: number, deks: number]> {
  const { message: status } = await admin.call('GetStatus', {});
  const { counters } = status.keys.find(({ key }: { key: string }) => key === 'any');
  const { message: described } = await client.call('DescribeKey', { key: 'any' });
  return [Number(counters.recipients_missing), described.recipients[0].missing_deks];
}

function dekctlRewrap({ agentSocket }: Place, ciphertext: Buffer): { ciphertext: Buffer; told: string } {
  const args = ['--disable-warning=ExperimentalWarning', DEKCTL, 'rewrap', '--socket', agentSocket];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { input: ciphertext, timeout: 20_000 });
  if (status !== 0) throw new Error(stderr.toString());
  return { ciphertext: stdout, told: stderr.toString() };
}

test('any: what is encrypted while the authority is dead gets it by Rewrap; then each recipient alone opens it', async (t) => {
  if (!requireOpenBao(t)) return;
  const setUp = await world(t);
  const { bao, place } = setUp;
  const agent = await startAgent(t, place);
  t.deepEqual(wrappedFor(await encrypt(agent, 'any', 'old')), ['vault-transit', 'local']);
  await encrypt(agent, 'all', 'old');

  await bao.kill();
  const ciphertext = await encrypt(agent, 'any', 'new');
  t.deepEqual(wrappedFor(ciphertext), ['local']);
  t.is(await decrypt(agent, ciphertext, 'new'), 'of new');
  t.deepEqual(await missing(agent), [1, 1]);
  const refused = await agent.client.failure('Encrypt', { key: 'all', encryption_context: { tenant: 'new' } });
  t.is(refused.reason, 'UPSTREAM_UNAVAILABLE');
  t.deepEqual(wrappedFor(await encrypt(agent, 'all', 'old')), ['vault-transit', 'local'], 'the old DEK goes on');
  t.is((await agent.client.failure('Rewrap', { ciphertext })).reason, 'UPSTREAM_UNAVAILABLE');

  await bao.restart();
  const rewrapped = await eventually(() => dekctlRewrap(place, ciphertext).ciphertext);
  t.deepEqual(wrappedFor(rewrapped), ['vault-transit', 'local']);
  t.is(await decrypt(agent, rewrapped, 'new'), 'of new');
  t.regex(dekctlRewrap(place, rewrapped).told, /nothing to rewrap/);
  const next = await eventually(async () => {
    const made = await encrypt(agent, 'any', 'new');
    if (wrappedFor(made).length < 2) throw new Error('its DEK still lacks the authority');
    return made;
  });
  t.is(await decrypt(agent, next, 'new'), 'of new');
  t.deepEqual(await missing(agent), [1, 0]);
  await agent.stop();

  alone(setUp, AUTHORITY);
  const withAuthority = await startAgent(t, place);
  t.is(await eventually(() => decrypt(withAuthority, rewrapped, 'new')), 'of new');
  await withAuthority.stop();
  await bao.kill();
  alone(setUp, STANDBY);
  const withStandby = await startAgent(t, place);
  t.is(await eventually(() => decrypt(withStandby, rewrapped, 'new')), 'of new');
});
