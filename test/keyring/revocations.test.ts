import test from 'ava';
import { parseEnvelope } from '../../src/crypto/envelope.ts';
import { CallDeks } from '../../src/keyring/call-deks.ts';
import { type Revocation, Revocations } from '../../src/keyring/revocations.ts';
import { HANG, refused, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { settled } from '../helpers/movable-clock.ts';
import { attempt, contextOf, makeWorld, plain, SECOND, type TestKey, type World, waiterOf } from './world.ts';

const FILE = '/etc/dekd/revocations.yaml';
const ACME = { tenant: 'acme' };
const GLOBEX = { tenant: 'globex' };

function revoked(key: string, pairs?: Readonly<Record<string, string>>): Revocation {
  return { key, partition: pairs === undefined ? undefined : contextOf(pairs) };
}

/** The reasons and texts for which every use of a key with this context, and of this ciphertext, is refused. */
async function uses(world: World, key: TestKey, pairs: Readonly<Record<string, string>>, ciphertext: Buffer) {
  const { envelope } = world.keyrings.locate(parseEnvelope(ciphertext));
  const calls: Record<string, () => unknown> = {
    encrypt: () => key.encrypt(pairs),
    decrypt: () => key.decrypt(ciphertext, pairs),
    'dry run of encrypt': () => key.ring.checkState(contextOf(pairs), waiterOf()),
    'dry run of decrypt': () => key.ring.checkKeks(contextOf(pairs), waiterOf()),
    warm: () => key.ring.warm(contextOf(pairs)),
    rewrap: () => key.ring.rewrapper.rewrap(envelope, waiterOf()),
  };
  const outcomes: Record<string, string> = {};
  for (const [name, call] of Object.entries(calls)) {
    const outcome = await world.outcome(attempt(call));
    outcomes[name] =
      'error' in outcome ? `${outcome.error.reason} after ${outcome.tookMs} ms: ${outcome.error.message}` : 'served';
  }
  return outcomes;
}

function all(text: string) {
  const names = ['encrypt', 'decrypt', 'dry run of encrypt', 'dry run of decrypt', 'warm', 'rewrap'];
  return Object.fromEntries(names.map((name) => [name, text]));
}

test('a revoked key refuses every use at once with its upstream down, and serves again without the entry', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const other = world.key({ name: 'invoices' });
  const { ciphertext, dek } = await key.seal();
  await other.seal();
  world.upstream.answer(UNREACHABLE);
  t.is(world.keyrings.revoke([revoked('orders')], FILE), 1);
  t.is(dek.place, 'gone');
  t.is(key.ring.state, 'disabled');
  t.is(key.ring.counters.purged, 1);
  const text = `key orders is revoked by ${FILE}; it serves again when its entry is taken out of that file`;
  t.deepEqual(await uses(world, key, {}, ciphertext), all(`KEY_DISABLED after 0 ms: ${text}`));
  plain(t, other.encrypt());

  t.is(world.keyrings.revoke([], FILE), 0);
  t.is(key.ring.state, 'active');
  world.upstream.answer({ kind: 'ok' });
  t.deepEqual(await uses(world, key, {}, ciphertext), all('served'));
});

test('a revoked partition refuses every use, and the others of the key serve from memory', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  const { ciphertext, dek } = await key.seal(ACME);
  const others = await key.seal(GLOBEX);
  world.upstream.answer(UNREACHABLE);
  t.is(world.keyrings.revoke([revoked('orders', ACME)], FILE), 1);
  t.is(dek.place, 'gone');
  t.is(key.ring.state, 'active');
  const text = `key orders refuses this partition: it is revoked by ${FILE}; it serves again when its entry is taken out of that file`;
  t.deepEqual(await uses(world, key, ACME, ciphertext), all(`KEY_DISABLED after 0 ms: ${text}`));
  plain(t, key.encrypt(GLOBEX));
  t.is(plain(t, key.decrypt(others.ciphertext, GLOBEX)).text, 'hello');

  world.keyrings.revoke([], FILE);
  world.upstream.answer({ kind: 'ok' });
  t.deepEqual(await uses(world, key, ACME, ciphertext), all('served'));
});

test('pairs revoke all partitions that have them, also those of blocks that were made with another partition_by', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant', 'region'] });
  const eu = await key.seal({ ...ACME, region: 'eu' });
  const us = await key.seal({ ...ACME, region: 'us' });
  const other = await key.seal({ ...GLOBEX, region: 'eu' });
  const old = await world.peer({ partitionBy: ['tenant'] }).seal(ACME);
  t.is(world.keyrings.revoke([revoked('orders', ACME), revoked('orders', { ...GLOBEX, region: 'us' })], FILE), 2);
  t.deepEqual(
    [eu, us, other].map(({ dek }) => dek.place),
    ['gone', 'gone', 'encrypting'],
  );
  t.is(await world.reason(() => key.decrypt(old.ciphertext, ACME)), 'KEY_DISABLED');
  t.is(await world.reason(() => key.encrypt({ ...GLOBEX, region: 'us' })), 'KEY_DISABLED');
  plain(t, key.encrypt({ ...GLOBEX, region: 'eu' }));
  t.is(await world.reason(() => key.encrypt({ tenant: 'initech', region: 'us' })), 'none');
});

test('who does not have the partition’s context hears nothing of its revocation', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  const { ciphertext } = await key.seal(ACME);
  world.keyrings.revoke([revoked('orders', ACME)], FILE);
  t.is(await world.reason(() => key.decrypt(ciphertext, GLOBEX)), 'INVALID_CIPHERTEXT');
});

for (const setup of [{}, { cache: { mode: 'request' } }, { cache: { mode: 'none' } }] as const) {
  const mode = setup.cache?.mode ?? 'session';
  test(`what is being made, unwrapped or rewrapped when the revocation comes is not used: mode ${mode}`, async (t) => {
    const world = makeWorld(t);
    const key = world.key(setup);
    const { ciphertext } = await world.peer().seal();
    const { envelope } = world.keyrings.locate(parseEnvelope(ciphertext));
    world.upstream.versions.set(key.world.kek('main').uri, '2');
    world.upstream.describedVersions.set(key.world.kek('main').uri, ['1', '2']);
    world.upstream.answer({ kind: 'ok', afterMs: 500 });
    const calls = [
      () => key.encrypt(),
      () => key.decrypt(ciphertext),
      () => key.ring.rewrapper.rewrap(envelope, waiterOf()),
    ];
    const reasons = Promise.all(calls.map((call) => world.reason(call)));
    await settled();
    t.is(world.keyrings.revoke([revoked('orders')], FILE), 0);
    t.deepEqual(await reasons, ['KEY_DISABLED', 'KEY_DISABLED', 'KEY_DISABLED']);
    t.is(key.held.length, 0);
  });
}

test('a block that is being wrapped anew when the revocation comes is not given out', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext } = await world.peer().seal();
  const { uri } = world.kek('main');
  world.upstream.versions.set(uri, '2');
  world.upstream.describedVersions.set(uri, ['1', '2']);
  world.upstream.answer({ kind: 'ok', afterMs: 500 }, { operation: 'wrap' });
  const { envelope } = world.keyrings.locate(parseEnvelope(ciphertext));
  const reason = world.reason(() => key.ring.rewrapper.rewrap(envelope, waiterOf()));
  await settled();
  t.is(world.upstream.count('wrap'), 2, 'the DEK is unwrapped, and under way to be wrapped again');
  world.keyrings.revoke([revoked('orders')], FILE);
  t.is(await reason, 'KEY_DISABLED');
});

test('items of a batch that follow the revocation are refused, though the batch has its DEK already', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { mode: 'request' }, partitionBy: ['tenant'] });
  const call = new CallDeks();
  const seal = (): Promise<string> =>
    world.reason(() => key.ring.encrypt(contextOf(ACME), 5, () => undefined, waiterOf(), call));
  t.is(await seal(), 'none');
  world.keyrings.revoke([revoked('orders', ACME)], FILE);
  t.is(await seal(), 'KEY_DISABLED');
  call.release();
});

test('an upstream’s refusal that is remembered does not hide the revocation', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  world.upstream.answer(refused('access'), { operation: 'wrap' });
  t.is(await world.reason(() => key.encrypt(ACME)), 'UPSTREAM_REFUSED');
  world.keyrings.revoke([revoked('orders', ACME)], FILE);
  t.is(await world.reason(() => key.encrypt(ACME)), 'KEY_DISABLED');
});

test('a call that waits for an upstream that hangs hears of the revocation when its attempt ends', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  world.upstream.answer(HANG);
  const outcome = world.outcome(key.encrypt());
  await settled();
  world.keyrings.revoke([revoked('orders')], FILE);
  const ended = await outcome;
  t.is('error' in ended ? ended.error.reason : 'served', 'KEY_DISABLED');
  t.true(ended.tookMs <= 2 * SECOND, `${ended.tookMs}`);
});

test('an unchanged or foreign revocation costs the DEKs of no other key anything', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  await key.seal(GLOBEX);
  const revocations = [revoked('orders', ACME), revoked('orders', { tenant: 'old' })];
  world.keyrings.revoke(revocations, FILE);
  world.upstream.answer({ kind: 'ok', afterMs: 500 });
  const sealing = world.value(key.encrypt({ tenant: 'new' }));
  await settled();
  world.keyrings.revoke([...revocations.toReversed(), revoked('unknown')], FILE);
  await sealing;
  t.is(world.upstream.count('wrap'), 2);
  plain(t, key.encrypt(GLOBEX));
});

test('a key that is added later is revoked from its first moment', async (t) => {
  const world = makeWorld(t);
  world.keyrings.revoke([revoked('orders')], FILE);
  const key = world.key();
  t.is(key.ring.state, 'disabled');
  t.is(await world.reason(() => key.encrypt()), 'KEY_DISABLED');
});

test('an archived key that is revoked refuses Decrypt too, and is archived again afterwards', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext } = await key.seal();
  const { uri, upstreamName } = world.kek('main');
  world.keyrings.kekChanged(upstreamName, { uri, state: 'archived', versions: [], labels: new Map() });
  world.keyrings.revoke([revoked('orders')], FILE);
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'KEY_DISABLED');
  world.keyrings.revoke([], FILE);
  t.is(key.ring.state, 'archived');
});

test('which keys a new list is something else for', (t) => {
  const revocations = new Revocations();
  const changed = (...list: Revocation[]): string[] => revocations.replace(list, FILE).sort();
  const first = [revoked('a'), revoked('b', ACME), revoked('b', GLOBEX)];
  t.deepEqual(changed(...first), ['a', 'b']);
  t.deepEqual(changed(...first.toReversed()), []);
  t.deepEqual(changed(revoked('b', ACME), revoked('b', GLOBEX), revoked('b'), revoked('c')), ['a', 'b', 'c']);
  t.true(revocations.covers('b', new Map()));
  t.false(revocations.covers('a', new Map()));
  t.deepEqual(changed(revoked('b', ACME)), ['b', 'c']);
  t.deepEqual(changed(revoked('b', GLOBEX)), ['b']);
  t.deepEqual(changed(), ['b']);
});
