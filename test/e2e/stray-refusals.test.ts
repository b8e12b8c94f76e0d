// What must purge nothing: a refusal that nobody confirms, an outage that looks like one, and ciphertexts under KEK versions that are gone.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CreateKeyCommand } from '@aws-sdk/client-kms';
import type { ExecutionContext } from 'ava';
import { openArena } from '../../src/crypto/native.ts';
import { openLocal } from '../../src/upstream/local/open.ts';
import { CALLS, makeUser } from '../counterparts/moto/iam.ts';
import { startMoto } from '../counterparts/moto/start.ts';
import { onDemand } from '../counterparts/on-demand.ts';
import { type OpenBao, requireOpenBao, startOpenBao } from '../counterparts/openbao/start.ts';
import { type Asked, type Certificate, type Interposed, startInterposer } from '../fakes/interposer.ts';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import { ContinuousUse, type Use, usesOf } from '../helpers/continuous-use.ts';
import { requireMounts } from '../helpers/mounts.ts';
import { MovableClock } from '../helpers/movable-clock.ts';
import { keyConfig, makePlace, type Place } from '../helpers/place.ts';
import { test } from '../helpers/serial.ts';
import { ANY_CREDENTIALS, adminClient, setEnvironment } from '../upstream/aws-kms/world.ts';
import { issueToken, makeKek, policyOf, secretFile, succeeds, writePolicy } from '../upstream/vault-transit/world.ts';

/** A second call comes 1 to 3 s after a refusal. */
const CONFIRMED_MS = 4_000;
const PATIENCE_MS = 30_000;
const DAY_MS = 86_400_000;

interface KeyStatus {
  readonly key: string;
  readonly counters: Readonly<Record<string, string>>;
}

interface Status {
  readonly keys: readonly KeyStatus[];
  readonly upstreams: readonly { readonly upstream: string; readonly state: string }[];
}

async function status({ admin }: Agent): Promise<Status> {
  return (await admin.call('GetStatus', {})).message;
}

/** A counter, summed over all keys. */
function total({ keys }: Status, counter: string): number {
  return keys.reduce((sum, { counters }) => sum + Number(counters[counter]), 0);
}

function key(upstream: string, kek: string, cache: object, more: object = {}): Record<string, unknown> {
  return keyConfig(kek, {
    recipients: [{ upstream, kek, role: 'authority' }],
    partition_by: ['tenant'],
    cache,
    ...more,
  });
}

async function openBao(t: ExecutionContext): Promise<OpenBao> {
  const bao = await startOpenBao();
  t.teardown(() => bao.stop());
  await succeeds(bao, 'POST', 'sys/mounts/transit', { type: 'transit' });
  return bao;
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + PATIENCE_MS; !(await holds()); await sleep(50)) {
    if (performance.now() > end) throw new Error(`after ${PATIENCE_MS} ms not yet: ${what}`);
  }
}

function vaultError(statusCode: number, text: string): Interposed {
  return { status: statusCode, type: 'application/json', body: JSON.stringify({ errors: [text] }) };
}

/** Of each scope: access, kek, version. */
const DENIED = vaultError(403, '1 error occurred:\n\t* permission denied\n\n');
const NOT_FOUND = vaultError(400, 'encryption key not found');
const TOO_OLD = vaultError(400, 'ciphertext or signature version is disallowed by policy (too old)');

const ACCESS_REFUSALS = 160;
const KEK_REFUSALS = 25;
const VERSION_REFUSALS = 25;
const ALL_REFUSALS = ACCESS_REFUSALS + KEK_REFUSALS + VERSION_REFUSALS;
/** On a busy machine an answer may come after its call was given up. */
const ENOUGH_REFUSALS = 200;

/** Passes everything on to OpenBao, but one of the first two decrypt calls of each DEK, at random, is refused. */
class Strays {
  readonly refused = new Set<string>();
  readonly #due = new Map<string, number>();
  readonly #denied: string;
  readonly #notFound: ReadonlySet<string>;

  constructor(denied: string, notFound: readonly string[]) {
    this.#denied = denied;
    this.#notFound = new Set(notFound);
  }

  answer({ path, body }: Asked): Interposed | undefined {
    const [, name] = /^\/v1\/transit\/decrypt\/(.+)$/.exec(path) ?? [];
    if (name === undefined) return undefined;
    const { ciphertext } = JSON.parse(body) as { ciphertext: string };
    const due = this.#due.get(ciphertext) ?? Math.floor(Math.random() * 2);
    this.#due.set(ciphertext, due - 1);
    if (due !== 0) return undefined;
    this.refused.add(ciphertext);
    if (name === this.#denied) return DENIED;
    return this.#notFound.has(name) ? NOT_FOUND : TOO_OLD;
  }
}

test('200 single stray refusals of OpenBao: none is confirmed, nothing is purged, everything serves', async (t) => {
  if (!requireOpenBao(t)) return;
  const bao = await openBao(t);
  const denied = await makeKek(bao);
  const others = await Promise.all(Array.from({ length: KEK_REFUSALS + VERSION_REFUSALS }, () => makeKek(bao)));
  await writePolicy(bao, 'dekd', policyOf(denied.name, ...others.map(({ name }) => name)));
  const { file } = await issueToken(t, bao, 'dekd');
  const proxy = await startInterposer(t, { target: bao.address });
  const upstream = { type: 'vault-transit', addresses: [`http://127.0.0.1:${proxy.port}`], login: { token: { file } } };
  const cache = { ttl: '3s' };
  const keys = Object.fromEntries([denied, ...others].map(({ name, kek }) => [name, key('vault', kek, cache)]));
  const agent = await startAgent(t, makePlace(t, { upstreams: { vault: upstream }, keys }));

  const tenants = Array.from({ length: ACCESS_REFUSALS }, (_, tenant) => ({ name: denied.name, tenant: `t${tenant}` }));
  const deks = [...tenants, ...others.map(({ name }) => ({ name, tenant: 'acme' }))];
  const uses = deks.map(({ name, tenant }): Use => {
    const request = { key: name, plaintext: Buffer.from('x'), encryption_context: { tenant } };
    return { name: `Encrypt of ${name}, ${tenant}`, rpc: 'Encrypt', request };
  });
  await inTurns(uses, ({ rpc, request }) => agent.client.call(rpc, request));
  const strays = new Strays(
    denied.name,
    others.slice(0, KEK_REFUSALS).map(({ name }) => name),
  );
  proxy.answer = (asked) => strays.answer(asked);
  const use = new ContinuousUse(agent.client, uses, 500);
  t.teardown(() => use.stop());
  await until('every DEK has been refused once', () => strays.refused.size === ALL_REFUSALS);
  const withdrawn = (): number => agent.stderr().split('"event":"upstream_refusal_withdrawn"').length - 1;
  const seenNow = async (): Promise<number> => total(await status(agent), 'refusals_seen');
  await until('every refusal is withdrawn', async () => withdrawn() === (await seenNow()));
  await use.stop();

  const now = await status(agent);
  const [seen, confirmed, purged] = ['refusals_seen', 'refusals_confirmed', 'purged'].map((name) => total(now, name));
  const served = use.all.reduce((sum, one) => sum + one.served, 0);
  t.log(
    `${seen} refusals seen, ${withdrawn()} withdrawn, ${confirmed} confirmed; ${purged} of ${deks.length} DEKs purged; ${served} calls, ${use.failures.length} failed`,
  );
  t.true((seen ?? 0) >= ENOUGH_REFUSALS);
  t.is(confirmed, 0);
  t.is(purged, 0);
  t.deepEqual(use.failures, []);
});

const moto = onDemand('moto', (directory) => startMoto(directory, UNCHECKED_CALLS));
// It takes seconds to start, in which other tests can run.
test.before(() => void moto().catch(() => undefined));
/** Until then moto takes anybody's call: the user, the key, its DEKs (two wraps with their proofs) and some refreshes of them. */
const UNCHECKED_CALLS = CALLS.makeUser + 1 + 4 + 12;
const HOST = 'vault.dekd.test';

test('DNS gone, TLS broken, a proxy’s 403, an expired token, AWS’s denial in another form: nothing is purged, everything serves', async (t) => {
  if (!requireOpenBao(t) || !requireMounts(t)) return;
  const service = await moto(t);
  if (service === undefined) return;
  const bao = await openBao(t);
  const kek = await makeKek(bao);
  await writePolicy(bao, 'dekd', policyOf(kek.name));
  const [lasting, first] = await Promise.all([issueToken(t, bao, 'dekd'), issueToken(t, bao, 'dekd')]);
  const certificate = makeCertificate(t);
  const [named, tls, page] = await Promise.all([
    startInterposer(t, { target: bao.address }),
    startInterposer(t, { target: bao.address, certificate }),
    startInterposer(t, { target: bao.address }),
  ]);
  const vault = (address: string, more: object = {}): object => ({
    type: 'vault-transit',
    addresses: [address],
    login: { token: { file: lasting.file } },
    warm_child: false,
    ...more,
  });
  const upstreams = {
    dns: vault(`http://${HOST}:${named.port}`),
    tls: vault(`https://127.0.0.1:${tls.port}`, { ca: secretFile(t, certificate.cert) }),
    page: vault(`http://127.0.0.1:${page.port}`),
    token: vault(bao.address, { login: { token: { file: first.file } } }),
    form: { type: 'aws-kms', endpoint: service.endpoint, region: 'eu-west-1', warm_child: false },
  };
  setEnvironment(await makeUser(service.endpoint, 'agent', { Effect: 'Allow', Action: 'kms:ListKeys', Resource: '*' }));
  const arn = await createKey(t, service.endpoint);
  const cache = { ttl: '1s' };
  const keys = Object.fromEntries(
    Object.keys(upstreams).map((name) => [name, key(name, name === 'form' ? `aws-kms:${arn}` : kek.kek, cache)]),
  );
  const place = makePlace(t, { upstreams, keys });
  const names = ownNames(place);
  const agent = await startAgent(t, place, { prefix: names.prefix });
  const uses = await Promise.all(Object.keys(keys).map((name) => usesOf(agent, name, ['acme'])));
  const use = new ContinuousUse(agent.client, uses.flat());
  t.teardown(() => use.stop());

  names.forget();
  named.disconnect();
  tls.present(makeCertificate(t));
  tls.disconnect();
  page.answer = () => ({ status: 403, type: 'text/html', body: '<html><h1>403 Forbidden</h1></html>' });
  // What is revoked and what has expired are told the same; the one that follows really expires.
  const short = await issueToken(t, bao, 'dekd', { ttl: '2s', explicit_max_ttl: '2s' });
  writeFileSync(first.file, short.token);
  await succeeds(bao, 'POST', 'auth/token/revoke', { token: first.token });
  await until('every DEK serves in grace', () => use.all.every(({ inGrace }) => inGrace));
  await sleep(CONFIRMED_MS);
  await use.stop();

  const now = await status(agent);
  const states = Object.fromEntries(now.upstreams.map(({ upstream, state }) => [upstream, state]));
  for (const { key: name, counters } of now.keys) {
    t.log(
      `${name}: ${states[name]}; ${counters['grace_served']} served in grace, ${counters['refusals_seen']} refusals, ${counters['purged']} purged`,
    );
    t.like(counters, { refusals_seen: '0', purged: '0' }, name);
  }
  const unreachable = 'unreachable';
  t.deepEqual(states, {
    dns: unreachable,
    tls: unreachable,
    page: unreachable,
    token: 'unauthenticated',
    form: unreachable,
  });
  t.deepEqual(use.failures, []);
  t.true(use.all.every(({ inGrace }) => inGrace));
});

async function createKey(t: ExecutionContext, endpoint: string): Promise<string> {
  const admin = adminClient(endpoint, 'eu-west-1', ANY_CREDENTIALS);
  t.teardown(() => admin.destroy());
  return (await admin.send(new CreateKeyCommand({}))).KeyMetadata?.Arn ?? '';
}

/** Of 127.0.0.1, signed by itself. */
function makeCertificate(t: ExecutionContext): Certificate {
  const [key, cert] = [secretFile(t, ''), secretFile(t, '')];
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'];
  const subject = ['-subj', '/CN=dekd-test', '-addext', 'subjectAltName=IP:127.0.0.1'];
  execFileSync('openssl', ['req', ...kind, ...subject, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
}

/** An /etc/hosts and no name server, for one process and its children. */
function ownNames({ directory }: Place): { prefix: string[]; forget(): void } {
  const [hosts, resolver] = [join(directory, 'hosts'), join(directory, 'resolv.conf')];
  writeFileSync(hosts, `127.0.0.1 localhost ${HOST}\n`);
  writeFileSync(resolver, '');
  const script = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"';
  return {
    prefix: ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', hosts, resolver],
    forget: () => writeFileSync(hosts, '127.0.0.1 localhost\n'),
  };
}

const OLD_DEKS = 50;

test('200 replays of ciphertexts under a too old version and a destroyed KEK: no other DEK is purged', async (t) => {
  if (!requireOpenBao(t)) return;
  const bao = await openBao(t);
  const { name, kek } = await makeKek(bao);
  await writePolicy(bao, 'dekd', policyOf(name));
  const { file } = await issueToken(t, bao, 'dekd');
  const place = makePlace(t);
  const store = { type: 'local', directory: join(place.directory, 'keystore'), root_key: { file: place.rootKeyFile } };
  const upstreams = { store, vault: { type: 'vault-transit', addresses: [bao.address], login: { token: { file } } } };
  // Nothing but the replays has the held DEKs asked about.
  const cache = { ttl: '1m' };
  const keysWith = (local: string, more: object = {}): object => ({
    tooOld: key('vault', kek, cache),
    destroyed: key('store', local, cache, more),
  });
  place.configure({ upstreams, keys: keysWith('local:old') });
  const before = await startAgent(t, place);
  const old = await Promise.all(['tooOld', 'destroyed'].map((one) => sealMany(before, one, OLD_DEKS)));
  await before.stop();

  await succeeds(bao, 'POST', `transit/keys/${name}/rotate`);
  await succeeds(bao, 'POST', `transit/keys/${name}/config`, { min_decryption_version: 2 });
  await destroyKek(place, 'old');
  place.configure({
    upstreams,
    keys: keysWith('local:new', { decrypt_with: [{ upstream: 'store', kek: 'local:old' }] }),
  });
  const agent = await startAgent(t, place);
  const uses = await Promise.all(['tooOld', 'destroyed'].map((one) => usesOf(agent, one, ['acme', 'globex'])));
  const use = new ContinuousUse(agent.client, uses.flat());
  t.teardown(() => use.stop());
  // What was asked about a moment ago is not asked about because of a replay.
  await sleep(1_500);
  const replays = [...old.flat(), ...old.flat()];
  const reasons = await inTurns(replays, (request) => answered(agent, request));
  await sleep(CONFIRMED_MS);
  await use.stop();

  const now = await status(agent);
  const counts = Object.groupBy(reasons, (reason) => reason);
  const [confirmed, purged] = ['refusals_confirmed', 'purged'].map((counter) => total(now, counter));
  t.log(`${replays.length} replays; ${confirmed} refusals confirmed, ${purged} DEKs purged`);
  t.is(counts['UPSTREAM_REFUSED']?.length, 2 * OLD_DEKS);
  t.is(counts['KEY_DESTROYED']?.length, 2 * OLD_DEKS);
  t.is(purged, 0);
  t.is(confirmed, 0);
  t.deepEqual(use.failures, []);
});

/** Requests to decrypt what so many DEKs encrypted. */
function sealMany({ client }: Agent, name: string, count: number): Promise<object[]> {
  const tenants = Array.from({ length: count }, (_, at) => `old${at}`);
  return inTurns(tenants, async (tenant) => {
    const encryption_context = { tenant };
    const request = { key: name, plaintext: Buffer.from('x'), encryption_context };
    const { message } = await client.call('Encrypt', request);
    return { ciphertext: message.ciphertext, encryption_context };
  });
}

/** Why it is refused; asked again when the upstream was too slow on a busy machine. */
async function answered({ client }: Agent, request: object): Promise<string> {
  for (let tries = 0; ; tries++) {
    const { reason } = await client.outcome('Decrypt', request);
    if (reason !== 'UPSTREAM_UNAVAILABLE' || tries === 20) return reason;
    await sleep(200);
  }
}

/** Twenty at once. */
async function inTurns<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < items.length; at += 10)
    results.push(...(await Promise.all(items.slice(at, at + 10).map(work))));
  return results;
}

/** As after two weeks, in the keystore of an agent that does not run. */
async function destroyKek({ directory, rootKeyFile }: Place, name: string): Promise<void> {
  openArena({ size: 1 << 20, lock: 'best-effort' });
  const clock = new MovableClock();
  const keystore = join(directory, 'keystore');
  const upstream = await openLocal('store', {
    type: 'local',
    directory: keystore,
    rootKey: { file: rootKeyFile },
    clock,
  });
  try {
    const request = { waitingPeriodMs: 7 * DAY_MS, custodians: 1, by: 'uid 2001' };
    await upstream.scheduleKekDeletion(`local:${name}`, request);
    // It looks at what it has to do each minute: first it sees the deletion coming, and then that its time has come.
    for (const days of [0, 8]) {
      clock.suspend(days * DAY_MS);
      await clock.advance(60_000);
    }
  } finally {
    await upstream.close();
  }
}
