import test from 'ava';
import { parseEnvelope } from '../../src/crypto/envelope.ts';
import { CALLS } from '../../src/upstream/resilience/limits.ts';
import { HANG } from '../fakes/scripted-upstream.ts';
import { settled } from '../helpers/movable-clock.ts';
import { contextOf, makeResilientWorld, type TestKey, waiterOf } from './world.ts';

// Who pays for a miss has its calls at the upstream in turn with others, whatever kind of miss it is.

const { atOnceOfOne } = CALLS.miss;
const TENANTS = { partitionBy: ['tenant'] };

/** A miss of that uid for a partition that nobody has used. */
function encrypt(key: TestKey, tenant: string, uid: number): void {
  const call = key.ring.encrypt(contextOf({ tenant }), 1, (dek) => dek, waiterOf(undefined, uid));
  Promise.resolve(call).catch(() => undefined);
}

function flood(key: TestKey, uid: number, count = 400): void {
  for (let at = 0; at < count; at++) encrypt(key, `of ${uid} ${at}`, uid);
}

test('one uid’s misses fill its places at a hung upstream: another’s, and what no caller causes, begin at once', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key(TENANTS);
  world.upstream.answer(HANG);
  flood(key, 1000);
  await settled();
  t.is(world.upstream.count(), atOnceOfOne);
  encrypt(key, 'mine', 1001);
  await settled();
  t.is(world.upstream.count(), atOnceOfOne + 1);
  key.ring.warm(contextOf({ tenant: 'warm' })).catch(() => undefined);
  await settled();
  t.is(world.upstream.count(), atOnceOfOne + 2);
  t.is(world.kek('main').calls, atOnceOfOne + 2);
  t.is(key.ring.counters.wraps, atOnceOfOne + 2, 'what waits was not made');
});

test('who joins a miss waits in the line of the one who caused it', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key(TENANTS);
  world.upstream.answer(HANG);
  flood(key, 1000);
  await settled();
  const calls = world.upstream.count();
  encrypt(key, 'shared', 1000);
  encrypt(key, 'shared', 1001);
  await settled();
  t.is(world.upstream.count(), calls);
  encrypt(key, 'quick', 1001);
  encrypt(key, 'quick', 1000);
  await settled();
  t.is(world.upstream.count(), calls + 1);
});

test('a Decrypt, a dry run and a Rewrap are in their payer’s line, too', async (t) => {
  const world = makeResilientWorld(t);
  const writer = world.peer(TENANTS);
  const full = await writer.seal({ tenant: 'of 1000' });
  const other = await writer.seal({ tenant: 'of 1001' });
  writer.world.keyrings.close();
  const key = world.key(TENANTS);
  const others = world.key({ ...TENANTS, name: 'others' });
  world.upstream.answer(HANG);
  flood(others, 1000);
  await settled();
  const calls = world.upstream.count();
  for (const [uid, { ciphertext }, made] of [
    [1000, full, 0],
    [1001, other, 3],
  ] as const) {
    const context = contextOf({ tenant: `of ${uid}` });
    const located = world.keyrings.locate(parseEnvelope(ciphertext));
    const waiter = waiterOf(undefined, uid);
    const works = [
      key.ring.decrypt(located, context, (dek) => dek, waiter),
      key.ring.checkState(context, waiter),
      key.ring.rewrapper.rewrap(located.envelope, waiter),
    ];
    for (const work of works) Promise.resolve(work).catch(() => undefined);
    await settled();
    t.is(world.upstream.count(), calls + made);
    // What it described is not joined by the next one.
    key.ring.flush();
  }
});
