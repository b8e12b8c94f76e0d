import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { type OpenBao, requireOpenBao } from '../counterparts/openbao/start.ts';
import { type Agent, ROOT, runAgent, startAgent } from '../helpers/agent-process.ts';
import { keyConfig, makePlace, type Place } from '../helpers/place.ts';
import { test } from '../helpers/serial.ts';
import { issueToken, makeKek, policyOf, Servers, writePolicy } from '../upstream/vault-transit/world.ts';

const servers = new Servers();
test.after.always(() => servers.stop());

const NOTHING = 'revoked: []\n';
const ACME = 'revoked:\n  - { key: orders, partition: { tenant: acme } }\n';
const ORDERS = 'revoked:\n  - { key: orders }\n';
/** A look each second, and a machine that is busy. */
const ENOUGH_MS = 15_000;

interface World {
  readonly bao: OpenBao;
  readonly place: Place;
  readonly file: string;
  readonly agent: Agent;
  /** As a ConfigMap changes: its whole directory at once. */
  readonly publish: (text: string) => void;
}

async function world(t: ExecutionContext): Promise<World> {
  const bao = await servers.get();
  const { name, kek } = await makeKek(bao);
  await writePolicy(bao, name, policyOf(name));
  const token = await issueToken(t, bao, name);
  const recipients = [{ upstream: 'vault', kek, role: 'authority' }];
  const keys = {
    orders: keyConfig('orders', { recipients, partition_by: ['tenant'] }),
    invoices: keyConfig('invoices', { recipients, cache: { mode: 'startup' } }),
  };
  const upstreams = {
    vault: { type: 'vault-transit', addresses: [bao.address], login: { token: { file: token.file } } },
  };
  const place = makePlace(t);
  const directory = join(place.directory, 'revocations');
  mkdirSync(directory);
  const file = join(directory, 'revocations.yaml');
  place.configure({ upstreams, keys, revocations: file });
  let version = 0;
  const publish = (text: string): void => {
    const next = `..v${++version}`;
    mkdirSync(join(directory, next));
    writeFileSync(join(directory, next, 'revocations.yaml'), text);
    symlinkSync(next, join(directory, '..data_tmp'));
    renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
  };
  publish(NOTHING);
  symlinkSync(join('..data', 'revocations.yaml'), file);
  return { bao, place, file, publish, agent: await startAgent(t, place) };
}

interface Use {
  readonly rpc: string;
  readonly request: object;
}

/** Every use of the key for a tenant, with a ciphertext and a data key of its own. */
async function usesOf({ client }: Agent, tenant: string): Promise<Use[]> {
  const context = { tenant };
  const seal = { key: 'orders', plaintext: Buffer.from(tenant), encryption_context: context };
  const { ciphertext } = (await client.call('Encrypt', seal)).message;
  const open = { ciphertext, encryption_context: context };
  const key = { key: 'orders', encryption_context: context };
  return [
    { rpc: 'Encrypt', request: seal },
    { rpc: 'Decrypt', request: open },
    { rpc: 'Encrypt', request: { ...seal, dry_run: true } },
    { rpc: 'Decrypt', request: { ...open, dry_run: true } },
    { rpc: 'GenerateDataKey', request: key },
    { rpc: 'GenerateDataKeyWithoutPlaintext', request: key },
    {
      rpc: 'ReEncrypt',
      request: {
        ciphertext,
        source_encryption_context: context,
        destination_key: 'invoices',
        destination_encryption_context: {},
      },
    },
    { rpc: 'EncryptBatch', request: { items: [seal, seal] } },
    { rpc: 'DecryptBatch', request: { items: [open, open] } },
  ];
}

/** `Encrypt: KEY_DISABLED` of each use; for batches of all their items. Texts are compared with the file's name. */
async function outcomes(t: ExecutionContext, { client }: Agent, uses: readonly Use[], file: string): Promise<string[]> {
  return Promise.all(
    uses.map(async ({ rpc, request }) => {
      const { code, reason, text, message } = await client.outcome(rpc, request);
      if (code !== 0) {
        t.true(text.includes(file), text);
        return `${rpc}: ${reason}`;
      }
      const failed = ((message as { results?: { status: { code: number; message: string } }[] }).results ?? []).filter(
        ({ status }) => status.code !== 0,
      );
      t.true(failed.every(({ status }) => status.message.includes(file)));
      return `${rpc}: ${failed.length === 2 ? 'KEY_DISABLED' : failed.length === 0 ? 'served' : 'mixed'}`;
    }),
  );
}

/** Milliseconds until a decryption ends like that. */
async function until(agent: Agent, request: object, wanted: string): Promise<number> {
  const startedAtMs = performance.now();
  for (;;) {
    const { code, reason } = await agent.client.outcome('Decrypt', request);
    const tookMs = performance.now() - startedAtMs;
    if ((code === 0 ? 'served' : reason) === wanted) return Math.round(tookMs);
    if (tookMs > ENOUGH_MS) throw new Error(`still ${reason || 'served'} after ${tookMs} ms`);
    await sleep(20);
  }
}

const all = (uses: readonly Use[], how: string): string[] => uses.map(({ rpc }) => `${rpc}: ${how}`);
const decryptOf = (uses: readonly Use[]): object => uses.find(({ rpc }) => rpc === 'Decrypt')?.request ?? {};

test('a tenant and then the whole key are revoked while OpenBao hangs; all serves again without the entries', async (t) => {
  if (!requireOpenBao(t)) return;
  const { bao, file, agent, publish } = await world(t);
  const acme = await usesOf(agent, 'acme');
  const globex = await usesOf(agent, 'globex');
  t.deepEqual(await outcomes(t, agent, acme, file), all(acme, 'served'));

  bao.kill('SIGSTOP');
  t.teardown(() => bao.kill('SIGCONT'));
  publish(ACME);
  t.log(`a tenant: refused ${await until(agent, decryptOf(acme), 'KEY_DISABLED')} ms after the file was changed`);
  t.deepEqual(await outcomes(t, agent, acme, file), all(acme, 'KEY_DISABLED'));
  const dryRuns = ({ request }: Use): boolean => 'dry_run' in request;
  const served = globex.filter((use) => !dryRuns(use));
  t.deepEqual(await outcomes(t, agent, served, file), all(served, 'served'));

  publish(ORDERS);
  t.log(`the key: refused ${await until(agent, decryptOf(globex), 'KEY_DISABLED')} ms after the file was changed`);
  t.deepEqual(await outcomes(t, agent, globex, file), all(globex, 'KEY_DISABLED'));
  const { message } = await agent.admin.call('GetStatus', {});
  const orders = message.keys.find(({ key }: { key: string }) => key === 'orders');
  t.like(orders, { state: 'KEY_STATE_DISABLED' });
  const sha256 = createHash('sha256').update(ORDERS).digest('hex');
  t.like(message.revocations, { file, sha256 });
  t.is((await agent.client.outcome('Encrypt', { key: 'invoices', plaintext: Buffer.from('x') })).code, 0);

  bao.kill('SIGCONT');
  publish(NOTHING);
  t.log(`served again ${await until(agent, decryptOf(acme), 'served')} ms after the entries were taken out`);
  t.deepEqual(await outcomes(t, agent, acme, file), all(acme, 'served'));
});

test('a file that vanishes or turns wrong brings nothing back; a start refuses it, and serves nothing of what a right one revokes', async (t) => {
  if (!requireOpenBao(t)) return;
  const { place, file, agent, publish } = await world(t);
  const acme = await usesOf(agent, 'acme');
  publish(ACME);
  await until(agent, decryptOf(acme), 'KEY_DISABLED');
  const warned = async (pattern: RegExp): Promise<void> => {
    for (const end = performance.now() + ENOUGH_MS; performance.now() < end; await sleep(50)) {
      const { message } = await agent.admin.call('GetStatus', {});
      if (message.warnings.some((warning: string) => pattern.test(warning))) return;
    }
    t.fail(`no warning like ${pattern}`);
  };
  unlinkSync(file);
  await warned(/revocations\.yaml: no such file/);
  writeFileSync(file, 'revoked: [ { kee: orders } ]');
  await warned(/revocations\.yaml:1:14: revoked\[0\]\.kee: unknown field; did you mean key\?/);
  await warned(/revocations\.yaml: wrong since .*; what it said before stays in force/);
  t.is((await agent.client.outcome('Decrypt', decryptOf(acme))).reason, 'KEY_DISABLED');
  t.regex(agent.stderr(), /"event":"revocations_wrong"/);
  await agent.stop();

  const exit = await runAgent(t, place);
  t.is(exit.code, 1);
  t.regex(exit.stderr, /dekd: \S+revocations\.yaml:1:14: revoked\[0\]\.kee: unknown field; did you mean key\?/);

  writeFileSync(file, 'revoked: [ { key: invoices }, { key: orders, partition: { tenant: acme } } ]');
  const next = await startAgent(t, place);
  t.is((await next.client.outcome('Decrypt', decryptOf(acme))).reason, 'KEY_DISABLED');
  t.is((await next.client.outcome('Encrypt', { key: 'invoices', plaintext: Buffer.from('x') })).reason, 'KEY_DISABLED');
  // A revoked key of mode `startup` does not keep the agent unready. It throws while it is.
  const health = [join(ROOT, 'src', 'cli', 'dekctl.ts'), 'health', '--socket', place.agentSocket];
  t.notThrows(() => execFileSync(process.execPath, health, { stdio: 'pipe' }));
});
