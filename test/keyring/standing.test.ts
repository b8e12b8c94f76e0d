import test from 'ava';
import { parseEnvelope } from '../../src/crypto/envelope.ts';
import { keyState } from '../../src/keyring/standing.ts';
import type { KekDescription, KekState, KekVersionDescription } from '../../src/upstream/provider.ts';
import { UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { makeWorld, plain, TTL, uriOf, type World, waiterOf } from './world.ts';

function change(world: World, kek: string, state: KekState, versions: Record<string, string> = { 1: 'active' }): void {
  const described: KekDescription = {
    uri: uriOf(kek),
    state,
    versions: Object.entries(versions).map(([version, versionState]) => ({
      version,
      state: versionState as KekVersionDescription['state'],
      createdAt: 0,
    })),
    labels: new Map(),
  };
  world.keyrings.kekChanged('scripted', described);
}

const REASONS = {
  disabled: 'KEY_DISABLED',
  'pending-deletion': 'KEY_PENDING_DELETION',
  destroyed: 'KEY_DESTROYED',
} as const;

for (const [state, reason] of Object.entries(REASONS)) {
  test(`${state}: every DEK is zeroed and every use refused at once, no upstream is asked`, async (t) => {
    const world = makeWorld(t);
    const key = world.key();
    const { ciphertext, dek } = await key.seal();
    const calls = world.upstream.count();
    change(world, 'main', state as KekState);
    t.is(dek.place, 'gone');
    t.deepEqual(key.held, []);
    t.is(key.ring.counters.purged, 1);
    t.throws(() => key.encrypt(), { message: /key orders (is|waits)/ });
    t.is(await world.reason(() => key.encrypt()), reason);
    t.is(await world.reason(() => key.decrypt(ciphertext)), reason);
    t.is(await world.reason(() => key.ring.warm(new Map())), reason);
    t.is(world.upstream.count(), calls);
  });

  test(`${state} in an outage, in grace: refused all the same`, async (t) => {
    const world = makeWorld(t);
    const key = world.key();
    const { ciphertext } = await key.seal();
    world.upstream.answer(UNREACHABLE);
    await world.clock.advance(TTL + 60_000);
    t.true((await world.value(key.decrypt(ciphertext))).grace);
    change(world, 'main', state as KekState);
    t.is(await world.reason(() => key.decrypt(ciphertext)), reason);
    t.is(await world.reason(() => key.encrypt()), reason);
  });
}

test('enabled again: what was refused serves again at once, negative answers are forgotten', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext } = await key.seal();
  change(world, 'main', 'disabled');
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'KEY_DISABLED');
  change(world, 'main', 'active');
  t.is((await world.value(key.decrypt(ciphertext))).text, 'hello');
  t.is((await world.value(key.encrypt())).grace, false);
});

test('archived: encrypts no more, goes on decrypting, and the DEKs say so', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext, dek } = await key.seal();
  t.false(dek.archived);
  change(world, 'main', 'archived');
  t.is(key.ring.state, 'archived');
  t.true(dek.archived);
  t.is(await world.reason(() => key.encrypt()), 'KEY_ARCHIVED');
  t.true(plain(t, key.decrypt(ciphertext)).dek.archived);
  key.ring.flush();
  t.true((await world.value(key.decrypt(ciphertext))).dek.archived, 'on a miss too');
  change(world, 'main', 'active');
  t.false((await world.value(key.decrypt(ciphertext))).dek.archived);
});

test('an archived version marks the DEKs wrapped under it, a destroyed one purges them; others go on', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const old = await key.seal();
  world.upstream.versions.set(uriOf('main'), '2');
  await key.ring.rotate();
  const young = await key.seal();
  t.not(old.dek, young.dek);
  change(world, 'main', 'active', { 1: 'archived', 2: 'active' });
  t.deepEqual([old.dek.archived, young.dek.archived, key.ring.state], [true, false, 'active']);
  change(world, 'main', 'active', { 1: 'destroyed', 2: 'active' });
  t.deepEqual([old.dek.place, young.dek.place], ['gone', 'encrypting']);
});

test('a rewrapped block takes a DEK out of an archived version; an old block sent later does not bring it back', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext, dek } = await key.seal();
  world.upstream.versions.set(uriOf('main'), '2');
  world.upstream.describedVersions.set(uriOf('main'), ['1', '2']);
  const { envelope } = world.keyrings.locate(parseEnvelope(ciphertext));
  const rewrapped = await world.value(key.ring.rewrapper.rewrap(envelope, waiterOf()));
  change(world, 'main', 'active', { 1: 'archived', 2: 'active' });
  t.true(dek.archived);
  t.is(plain(t, key.decrypt(rewrapped.ciphertext)).text, 'hello');
  t.false(dek.archived);
  plain(t, key.decrypt(ciphertext));
  t.false(dek.archived);
  key.ring.flush();
  t.false((await world.value(key.decrypt(rewrapped.ciphertext))).dek.archived);
  t.false(plain(t, key.decrypt(ciphertext)).dek.archived);
});

/** A DEK of version 1, which is archived before the key has another one. */
async function leftBehind(world: World) {
  const key = world.key();
  const { ciphertext, dek } = await key.seal();
  // Twice: a hit need not look at the DEK again for some time.
  await key.seal();
  world.upstream.versions.set(uriOf('main'), '2');
  world.upstream.describedVersions.set(uriOf('main'), ['1', '2']);
  const { envelope } = world.keyrings.locate(parseEnvelope(ciphertext));
  const rewrapped = await world.value(key.ring.rewrapper.rewrap(envelope, waiterOf()));
  change(world, 'main', 'active', { 1: 'archived', 2: 'active' });
  return { key, dek, ciphertext, rewrapped: rewrapped.ciphertext };
}

test('nothing is encrypted under an archived version: the next use makes a new DEK', async (t) => {
  const world = makeWorld(t);
  const { key, dek, ciphertext } = await leftBehind(world);
  // What it decrypts meanwhile does not put off the look at it.
  for (const _ of [1, 2]) t.true(plain(t, key.decrypt(ciphertext)).dek.archived);
  const young = await world.value(key.encrypt());
  t.not(young.dek, dek);
  t.deepEqual([young.dek.archived, dek.place], [false, 'decrypting']);
  t.is(plain(t, key.encrypt()).dek, young.dek, 'a hit again');
});

test('nor when a rewrapped block of that DEK is known, which only opens what it sealed before', async (t) => {
  const world = makeWorld(t);
  const { key, dek, rewrapped } = await leftBehind(world);
  t.false(plain(t, key.decrypt(rewrapped)).dek.archived);
  t.not((await world.value(key.encrypt())).dek, dek);
});

test('nor when no new DEK can be had: encrypting fails, decrypting goes on', async (t) => {
  const world = makeWorld(t);
  const { key, ciphertext } = await leftBehind(world);
  world.upstream.answer(UNREACHABLE);
  t.is(await world.reason(() => key.encrypt()), 'UPSTREAM_UNAVAILABLE');
  t.is(plain(t, key.decrypt(ciphertext)).text, 'hello');
});

test('warm makes a DEK in the place of one that is archived', async (t) => {
  const world = makeWorld(t);
  const { key, dek } = await leftBehind(world);
  t.is(await world.value(key.ring.warm(new Map())), 1);
  t.not(plain(t, key.encrypt()).dek, dek);
  t.is(await key.ring.warm(new Map()), 0);
});

test('an archived key that is enabled again goes on with its DEK', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { dek } = await key.seal();
  change(world, 'main', 'archived');
  change(world, 'main', 'active');
  t.is(plain(t, key.encrypt()).dek, dek);
});

test('a key is in the worst state of its authorities; standbys, recovery and retired KEKs do not count', (t) => {
  const world = makeWorld(t);
  const { ring } = world.key({
    recipients: [
      ['a', 'authority'],
      ['b', 'authority'],
      ['s', 'standby'],
      ['r', 'recovery'],
    ],
    decryptWith: ['old'],
  });
  for (const kek of ['s', 'r', 'old']) change(world, kek, 'destroyed');
  t.is(ring.state, 'active');
  change(world, 'b', 'archived');
  t.is(ring.state, 'archived');
  change(world, 'a', 'disabled');
  t.is(ring.state, 'disabled');
  change(world, 'b', 'pending-deletion');
  t.is(ring.state, 'pending-deletion');
  t.is(keyState(ring.options), 'pending-deletion');
  change(world, 'a', 'active');
  change(world, 'b', 'active');
  t.is(ring.state, 'active');
});

test('a disabled standby drops nothing; a disabled retired KEK ends the DEKs that name it, without a call', async (t) => {
  const world = makeWorld(t);
  const before = world.key({ name: 'orders', recipients: [['old', 'authority']] });
  const { ciphertext } = await before.seal();
  const after = world.peer({
    name: 'orders',
    recipients: [
      ['new', 'authority'],
      ['s', 'standby'],
    ],
    decryptWith: ['old'],
  });
  const opened = await world.value(after.decrypt(ciphertext));
  const young = await after.seal();
  change(after.world, 's', 'disabled');
  t.deepEqual([opened.dek.place, young.dek.place], ['decrypting', 'encrypting']);
  change(after.world, 'old', 'disabled');
  t.deepEqual([opened.dek.place, young.dek.place, after.ring.state], ['gone', 'encrypting', 'active']);
  const calls = world.upstream.count();
  t.is(await world.reason(() => after.decrypt(ciphertext)), 'KEY_DISABLED');
  t.is(world.upstream.count(), calls);
});

test('a KEK that no key names, and one of another upstream, change nothing', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { dek } = await key.seal();
  change(world, 'other', 'destroyed');
  world.keyrings.kekChanged('another', { uri: uriOf('main'), state: 'destroyed', versions: [], labels: new Map() });
  t.deepEqual([dek.place, key.ring.state], ['encrypting', 'active']);
});

test('an unwrap and a creation that began before the key was disabled serve nobody', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext } = await key.seal();
  key.ring.flush();
  world.upstream.answer({ kind: 'ok', afterMs: 500 });
  const opening = world.outcome(key.decrypt(ciphertext));
  const sealing = world.reason(() => key.encrypt());
  change(world, 'main', 'disabled');
  t.like(await opening, { error: { reason: 'KEY_DISABLED' } });
  t.is(await sealing, 'KEY_DISABLED');
  t.deepEqual(key.held, []);
});
