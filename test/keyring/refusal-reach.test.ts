import test from 'ava';
import { partitionKey } from '../../src/keyring/partition.ts';
import { Refusals } from '../../src/keyring/refusals.ts';
import { refused } from '../fakes/scripted-upstream.ts';
import { silentEvents } from '../fakes/silent-events.ts';
import { makeWorld, plain, SECOND, TTL, uriOf } from './world.ts';

// How far a refusal reaches: which DEKs its scope purges, and that one met on a miss purges nothing by itself.

const MAIN = uriOf('main');

test('scope kek purges every DEK of which that KEK is an authority, of any key, and no other', async (t) => {
  const world = makeWorld(t);
  const orders = world.key({ name: 'orders', partitionBy: ['tenant'] });
  const carts = world.key({ name: 'carts' });
  const other = world.key({ name: 'other', recipients: [['other', 'authority']] });
  const standby = world.key({
    name: 'standby',
    recipients: [
      ['other', 'authority'],
      ['main', 'standby'],
    ],
  });
  for (const tenant of ['a', 'b', 'c']) await orders.seal({ tenant });
  for (const key of [carts, other, standby]) await key.seal();
  plain(t, orders.encrypt({ tenant: 'a' }));
  world.upstream.script({ kek: MAIN, answer: refused('kek', 'pending-deletion') });
  await world.clock.advance(TTL);
  t.deepEqual(world.events, ['seen kek', 'confirmed kek 4']);
  t.deepEqual([orders.held.length, carts.held.length, other.held.length, standby.held.length], [0, 0, 1, 1]);
  t.is(orders.ring.counters.purged + carts.ring.counters.purged, 4);
});

test('scope version purges the DEKs that are wrapped under that version', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const old = await key.seal();
  world.upstream.versions.set(MAIN, '2');
  await key.ring.rotate();
  const current = await key.seal();
  t.is(key.held.length, 2);
  plain(t, key.decrypt(old.ciphertext));
  plain(t, key.encrypt());
  world.upstream.script({ version: '1', operation: 'unwrap', answer: refused('version', 'destroyed') });
  await world.clock.advance(TTL);
  t.deepEqual(world.events, ['seen version', 'confirmed version 1']);
  t.is(old.dek.place, 'gone');
  t.is(current.dek.place, 'encrypting');
  t.is(await world.reason(() => key.decrypt(old.ciphertext)), 'KEY_DESTROYED');
  t.is(world.kek('main').health.condition, undefined, 'a version is not the KEK');
});

test('scope access purges that key and partition; siblings are asked at once and fall by their own refusals', async (t) => {
  const world = makeWorld(t);
  const orders = world.key({ name: 'orders', partitionBy: ['tenant'] });
  const carts = world.key({ name: 'carts' });
  for (const tenant of ['a', 'b', 'c']) await orders.seal({ tenant });
  await carts.seal();
  await world.clock.advance(0.5 * TTL);
  plain(t, orders.encrypt({ tenant: 'a' }));
  for (const tenant of ['a', 'b']) {
    world.upstream.script({ pair: ['tenant', tenant], answer: refused('access') });
  }
  await world.clock.advance(0.36 * TTL + 4 * SECOND);
  const tenants = (): string[] => orders.held.map((dek) => dek.partition.get('tenant')!);
  t.deepEqual(world.events.slice(0, 2), ['seen access', 'confirmed access 1']);
  t.deepEqual(world.events.slice(2, 3), ['seen access']);
  await world.clock.advance(4 * SECOND);
  t.deepEqual(world.events.slice(3), ['confirmed access 1']);
  t.deepEqual(tenants(), ['c']);
  const [survivor] = orders.held;
  t.true(world.clock.bootMs() - survivor!.verifiedAtMs < 20 * SECOND, 'the sibling was refreshed at once');
  t.is(carts.held.length, 1);
});

test('a confirming answer of another scope confirms only what both say', async (t) => {
  const world = makeWorld(t);
  const orders = world.key({ name: 'orders' });
  const carts = world.key({ name: 'carts' });
  await orders.seal();
  await carts.seal();
  plain(t, orders.encrypt());
  world.upstream.script(
    { pair: ['dekd:key', 'orders'], answer: refused('kek'), times: 1 },
    { pair: ['dekd:key', 'orders'], answer: refused('access') },
  );
  await world.clock.advance(TTL);
  t.is(world.events[1], 'confirmed access 1');
  t.deepEqual([orders.held.length, carts.held.length], [0, 1]);
});

test('200 replays of a destroyed version purge nothing else and have one held DEK asked about', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer({ partitionBy: ['tenant'] });
  const replays: Buffer[] = [];
  for (let tenant = 0; tenant < 200; tenant++) replays.push((await writer.seal({ tenant: `t${tenant}` })).ciphertext);
  writer.world.keyrings.close();
  world.upstream.versions.set(MAIN, '2');
  const key = world.key({ partitionBy: ['tenant'] });
  const held = await key.seal({ tenant: 'mine' });
  const other = await key.seal({ tenant: 'other' });
  await world.clock.advance(10 * SECOND);
  world.upstream.script({ operation: 'unwrap', version: '1', answer: refused('version', 'destroyed') });
  const calls = world.upstream.count();
  for (const [tenant, ciphertext] of replays.entries()) {
    t.is(await world.reason(() => key.decrypt(ciphertext, { tenant: `t${tenant}` })), 'KEY_DESTROYED');
  }
  await world.clock.advance(TTL);
  t.is(key.ring.counters.purged, 0);
  t.deepEqual([held.dek.place, other.dek.place], ['encrypting', 'encrypting']);
  t.is(world.upstream.count() - calls, 201);
  t.is(world.events.length, 0);
});

test('a refusal on a miss starts the confirmation with a held DEK that it would reach', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer({ partitionBy: ['tenant'] });
  const { ciphertext } = await writer.seal({ tenant: 'b' });
  writer.world.keyrings.close();
  const key = world.key({ partitionBy: ['tenant'] });
  const a = await key.seal({ tenant: 'a' });
  const b = await key.seal({ tenant: 'b' });
  await world.clock.advance(10 * SECOND);
  world.upstream.script({ pair: ['tenant', 'b'], answer: refused('access') });
  t.is(await world.reason(() => key.decrypt(ciphertext, { tenant: 'b' })), 'UPSTREAM_REFUSED');
  await world.clock.advance(4 * SECOND);
  t.is(a.dek.place, 'encrypting');
  t.is(b.dek.place, 'gone');
  t.deepEqual(world.events.slice(0, 2), ['seen access', 'confirmed access 1']);
});

test('a refusal on a miss of a disabled KEK purges its held DEKs within 5 s', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const { ciphertext } = await writer.seal();
  writer.world.keyrings.close();
  const key = world.key();
  const { dek } = await key.seal();
  await world.clock.advance(10 * SECOND);
  world.upstream.answer(refused('kek', 'disabled'));
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'KEY_DISABLED');
  await world.clock.advance(4 * SECOND);
  t.is(dek.place, 'gone');
});

test('any number of refused misses look through the held DEKs once a second; who encrypts for their partition is asked about all the same', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  for (const tenant of ['b', 'a']) await key.seal({ tenant });
  await world.clock.advance(2 * SECOND);
  let looks = 0;
  const asked: string[] = [];
  const refusals = new Refusals(
    world.clock,
    {
      all: () => {
        looks++;
        return key.ring.all();
      },
      encrypting: (_, partition) => key.ring.encrypting.peek(partition),
      purge: () => t.fail(),
      refreshSoon: ({ partition }) => asked.push(partition.get('tenant')!),
      ask: async () => undefined,
    },
    silentEvents,
  );
  const refuse = (tenant: string): void =>
    refusals.followUp({
      kek: world.kek('main'),
      scope: 'access',
      kekVersion: '1',
      keyName: 'orders',
      partitionKey: partitionKey(new Map([['tenant', tenant]])),
    });
  for (let miss = 0; miss < 100; miss++) refuse(`forged ${miss}`);
  t.is(looks, 1);
  t.deepEqual(asked, ['a'], 'any of that KEK');
  refuse('b');
  t.is(looks, 1);
  t.deepEqual(asked, ['a', 'b']);
  await world.clock.advance(SECOND);
  refuse('forged');
  t.is(looks, 2);
});
