import test from 'ava';
import { INVALID, OK } from '../fakes/scripted-upstream.ts';
import { Load } from './load.ts';
import { MINUTE, makeResilientWorld, makeWorld, plain, SECOND, uriOf } from './world.ts';

// A KEK that was deleted and made anew under its name: what it wrapped before is *invalid* to it, for DEKs that are held, too.

const TTL = MINUTE;
const CACHE = { ttlMs: TTL, graceMs: 60 * MINUTE };

test('a DEK that no recipient opens any more is asked about every 5 s, however often it is used, and the log tells it once a minute', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: CACHE });
  const writer = world.peer({ cache: CACHE });
  const { ciphertext } = await writer.seal();
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'none');
  world.upstream.answer(INVALID, { operation: 'unwrap' });
  await world.clock.advance(TTL + SECOND);
  const before = world.upstream.count('unwrap');
  const reasons = new Set<string>();
  for (let tenth = 0; tenth < 300; tenth++) {
    reasons.add(await world.reason(() => key.decrypt(ciphertext)));
    await world.clock.advance(100);
  }
  t.deepEqual([...reasons], ['UPSTREAM_FAULT']);
  const asked = world.upstream.count('unwrap') - before;
  t.true(asked >= 5 && asked <= 7, `${asked} calls in 30 s`);
  t.is(world.events.filter((event) => event === 'disowned orders UPSTREAM_FAULT').length, 1);
  const outcome = await world.outcome(key.decrypt(ciphertext));
  t.regex('error' in outcome ? outcome.error.message : '', /`dekctl flush orders`/);
  world.upstream.answer(OK);
  await world.clock.advance(6 * SECOND);
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'none', 'the KEK is back');
  t.is(key.ring.counters.upstream_failures, 0);
});

test('requests that come at once share one attempt', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: CACHE });
  const writer = world.peer({ cache: CACHE });
  const { ciphertext } = await writer.seal();
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'none');
  world.upstream.answer({ kind: 'fail', class: 'invalid', afterMs: 200 }, { operation: 'unwrap' });
  await world.clock.advance(TTL + SECOND);
  const before = world.upstream.count('unwrap');
  const uses = Array.from({ length: 50 }, () => world.reason(() => key.decrypt(ciphertext)));
  t.deepEqual([...new Set(await Promise.all(uses))], ['UPSTREAM_FAULT']);
  t.is(world.upstream.count('unwrap') - before, 1);
});

test('one that encrypts is replaced by a new one: no Encrypt fails', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key({ partitionBy: ['tenant'], cache: CACHE });
  const load = await Load.of(key, 3);
  const before = new Map(key.held.map((dek) => [dek.partitionKey, dek]));
  // Made anew: it wraps as ever, and opens only what it wrapped since.
  world.upstream.versions.set(uriOf('main'), '2');
  world.upstream.script({ operation: 'unwrap', version: '1', answer: INVALID });
  for (let second = 0; second < 120; second++) {
    for (let tenant = 0; tenant < 3; tenant++) {
      t.is(await world.reason(() => key.encrypt({ tenant: `t${tenant}` })), 'none');
    }
    await world.clock.advance(SECOND);
  }
  for (const dek of before.values()) t.is(dek.place, 'decrypting');
  t.is(world.upstream.count('wrap'), 6);
  t.false(plain(t, key.encrypt({ tenant: 't0' })).grace);
  t.is(load.failed.length, 0);
});

test('idle until past its ttl, it is replaced before the Encrypt that finds it out is answered', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: CACHE });
  const { dek, ciphertext } = await key.seal();
  await world.clock.advance(2 * TTL);
  world.upstream.versions.set(uriOf('main'), '2');
  world.upstream.script({ operation: 'unwrap', version: '1', answer: INVALID });
  const next = await key.seal();
  t.not(next.dek, dek);
  t.false(next.grace);
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'UPSTREAM_FAULT', 'as before for what it encrypted');
  t.is(await world.reason(() => key.decrypt(next.ciphertext)), 'none');
});
