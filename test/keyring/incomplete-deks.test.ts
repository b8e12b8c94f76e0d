import test from 'ava';
import { OK, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { Load } from './load.ts';
import { HOUR, MINUTE, makeResilientWorld, makeWorld, SECOND, TTL, uriOf } from './world.ts';

const ANY = {
  recipients: [
    ['main', 'authority'],
    ['spare', 'standby'],
  ],
  wrap: 'any',
  partitionBy: ['tenant'],
} as const;

test('a DEK that lacks a recipient is replaced when it is back, within half a ttl, and only then', async (t) => {
  const world = makeWorld(t);
  world.clock.randoms.unshift(...Array.from({ length: 100 }, (_, at) => (at % 10) / 10));
  const key = world.key(ANY);
  world.upstream.answer(UNREACHABLE, { kek: uriOf('main') });
  const tenants = ['a', 'b', 'c', 'd'];
  const deks = new Map<string, unknown>();
  for (const tenant of tenants) deks.set(tenant, (await key.seal({ tenant })).dek);
  const main = world.kek('main');
  t.is(key.ring.encrypting.missingRecipients().get(main), 4);
  await world.clock.advance(2 * MINUTE);
  t.is(key.ring.counters.deks_created, 4, 'none while it is out');
  world.upstream.answer(OK);
  await key.seal({ tenant: 'first after the outage' });
  const created: number[] = [];
  for (let second = 0; second < TTL / 2 / SECOND + 11; second++) {
    await world.clock.advance(SECOND);
    created.push(key.ring.counters.deks_created);
  }
  t.is(created.at(-1), 9);
  t.true(new Set(created).size > 2, 'not all at once');
  t.is(key.ring.counters.rotations, 4);
  t.is(key.ring.encrypting.missingRecipients().size, 0);
  for (const tenant of tenants) t.not((await key.seal({ tenant })).dek, deks.get(tenant));
});

test('one that could not be replaced is tried again; one that was purged is not', async (t) => {
  const world = makeWorld(t);
  const key = world.key(ANY);
  world.upstream.answer(UNREACHABLE, { kek: uriOf('main') });
  const { dek } = await key.seal({ tenant: 'a' });
  await key.seal({ tenant: 'b' });
  t.is(key.ring.encrypting.missingRecipients().get(world.kek('main')), 2);
  key.ring.flush(new Map([['tenant', 'b']]));
  t.is(key.ring.encrypting.missingRecipients().get(world.kek('main')), 1);
  world.upstream.answer(OK);
  await key.seal({ tenant: 'c' });
  world.upstream.answer(UNREACHABLE, { operation: 'wrap', kek: uriOf('spare') });
  world.upstream.answer(UNREACHABLE, { operation: 'wrap', kek: uriOf('main') });
  await world.clock.advance(TTL);
  t.is(dek.place, 'encrypting');
  t.true(key.ring.counters.rotation_failures > 0);
  world.upstream.answer(OK);
  await key.seal({ tenant: 'd' });
  await world.clock.advance(TTL);
  t.is(dek.place, 'decrypting');
  t.is(key.ring.counters.rotations, 1);
});

for (const [name, operation] of [
  ['wrap', 'wrap'],
  ['prove its wraps', 'unwrap'],
] as const) {
  test(`a KEK that is described and does not ${name}: one replacement at a time is tried, ever more rarely, until it is back`, async (t) => {
    const world = makeResilientWorld(t, { apart: true });
    const key = world.key(ANY);
    const spare = uriOf('spare');
    world.upstream.answer(UNREACHABLE, { kek: spare, operation });
    const partitions = 8;
    const load = await Load.of(key, partitions);
    const made = (): number => key.ring.counters.deks_created - partitions;
    await load.run(HOUR, { everyMs: MINUTE });
    t.false(world.kek('spare').outage, 'it can be described');
    t.true(made() >= 3 && made() <= 6, `${made()} in the first hour`);
    await load.run(11 * HOUR, { everyMs: 2 * MINUTE });
    t.true(made() <= 12, `${made()} in half a day`);
    t.is(key.ring.encrypting.missingRecipients().get(world.kek('spare')), partitions);
    world.upstream.answer(OK);
    const before = made();
    // A tenth of rotate_after, half a ttl for the first, and as long for the others.
    await load.run(0.1 * 24 * HOUR + TTL + MINUTE, { everyMs: MINUTE });
    t.deepEqual(load.failed, []);
    t.is(made() - before, partitions);
    t.is(key.ring.encrypting.missingRecipients().size, 0);
  });
}

test('a new partition that gets what others lack ends their pause', async (t) => {
  const world = makeResilientWorld(t, { apart: true });
  const key = world.key(ANY);
  world.upstream.answer(UNREACHABLE, { kek: uriOf('spare'), operation: 'wrap' });
  await key.seal({ tenant: 'a' });
  for (let minute = 0; minute < 4 * 60; minute++) {
    await world.clock.advance(MINUTE);
    await key.seal({ tenant: 'a' });
  }
  world.upstream.answer(OK);
  await key.seal({ tenant: 'b' });
  await world.clock.advance(TTL / 2 + 10 * SECOND);
  t.is(key.ring.encrypting.missingRecipients().size, 0);
});
