import test from 'ava';
import type { Dek } from '../../src/keyring/dek.ts';
import { HANG, OK, refused, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { attempt, MINUTE, makeWorld, plain, SECOND, TTL, uriOf } from './world.ts';

// One refusal proves nothing: when it is confirmed, withdrawn or pending, and what serves until then.

const MAIN = uriOf('main');

for (const [random, confirmMs] of [
  [0, 1_000],
  [0.999_999, 3_000],
] as const) {
  test(`a refusal before ttl serves on and is confirmed after ${confirmMs} ms`, async (t) => {
    const world = makeWorld(t);
    world.clock.randoms[0] = random;
    const key = world.key();
    const { dek, ciphertext } = await key.seal();
    plain(t, key.encrypt());
    world.upstream.answer(refused('kek', 'disabled'));
    const calls = world.upstream.count();
    while (world.upstream.count() === calls) await world.clock.advance(10);
    t.deepEqual(world.events, ['seen kek']);
    await world.clock.advance(confirmMs - 20);
    t.is(world.upstream.count(), calls + 1);
    t.is(plain(t, key.decrypt(ciphertext)).text, 'hello');
    t.false(plain(t, key.encrypt()).grace);
    await world.clock.advance(40);
    t.is(world.upstream.count(), calls + 2);
    t.deepEqual(world.events, ['seen kek', 'confirmed kek 1']);
    t.is(dek.place, 'gone');
    t.is(key.ring.counters.purged, 1);
    t.is(key.ring.counters.refusals_seen, 1);
    t.is(key.ring.counters.refusals_confirmed, 1);
    t.is(await world.reason(() => key.decrypt(ciphertext)), 'KEY_DISABLED');
  });
}

test('no use is later than ttl + 5 s after the revocation, whenever it comes and however the DEK is used', async (t) => {
  const world = makeWorld(t);
  for (const [index, revokedAt] of [0.01, 0.3, 0.79, 0.85, 0.9, 0.99].entries()) {
    for (const everyMs of [500, 0.34 * TTL, 0.97 * TTL]) {
      const name = `key-${index}-${everyMs}`;
      const key = world.key({ name, recipients: [[name, 'authority']] });
      const { ciphertext } = await key.seal();
      let revokedAtMs = Number.POSITIVE_INFINITY;
      let lastUseMs = 0;
      const until = world.clock.bootMs() + 2.5 * TTL;
      const revokeAtMs = world.clock.bootMs() + revokedAt * TTL;
      while (world.clock.bootMs() < until) {
        await world.clock.advance(everyMs);
        const nowMs = world.clock.bootMs();
        if (nowMs >= revokeAtMs && revokedAtMs === Number.POSITIVE_INFINITY) {
          world.upstream.script({ kek: uriOf(name), answer: refused('kek', 'disabled') });
          revokedAtMs = revokeAtMs;
        }
        const outcome = await world.outcome(attempt(() => key.decrypt(ciphertext)));
        if ('value' in outcome) lastUseMs = world.clock.bootMs();
      }
      t.true(
        lastUseMs <= revokedAtMs + everyMs + TTL + 5 * SECOND,
        `${name}: used until ${lastUseMs - revokedAtMs} ms`,
      );
      t.is(key.held.length, 0);
    }
  }
});

test('a refusal first met past ttl: the request waits and is not served', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext, dek } = await key.seal();
  world.clock.suspend(2 * TTL);
  world.upstream.answer(refused('kek', 'disabled'));
  const outcome = await world.outcome(key.decrypt(ciphertext));
  t.is('error' in outcome && outcome.error.reason, 'KEY_DISABLED');
  t.true(outcome.tookMs >= SECOND && outcome.tookMs <= 4 * SECOND, `${outcome.tookMs} ms`);
  t.is(dek.place, 'gone');
});

test('a refusal first met past ttl that turns out to be a slip: the request is served then', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext } = await key.seal();
  world.clock.suspend(2 * TTL);
  world.upstream.script({ answer: refused('access'), times: 1 });
  const outcome = await world.outcome(key.decrypt(ciphertext));
  t.true('value' in outcome && !outcome.value.grace);
  t.true(outcome.tookMs >= SECOND && outcome.tookMs <= 4 * SECOND);
});

test('a single stray refusal purges nothing, whatever its scope', async (t) => {
  for (const scope of ['kek', 'version', 'access'] as const) {
    const world = makeWorld(t);
    const key = world.key();
    const { dek } = await key.seal();
    plain(t, key.encrypt());
    world.upstream.script({ operation: 'unwrap', answer: refused(scope), times: 1 });
    await world.clock.advance(TTL);
    t.deepEqual(world.events, [`seen ${scope}`, `withdrawn ${scope}`]);
    t.is(key.held[0], dek);
    t.is(key.ring.counters.purged, 0);
    t.false(plain(t, key.encrypt()).grace, 'the second answer re-armed it');
  }
});

test('a confirming answer that unwraps another key re-arms nothing', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { dek } = await key.seal();
  const { verifiedAtMs } = dek;
  plain(t, key.encrypt());
  world.upstream.script({ answer: refused('kek'), times: 1 }, { answer: { kind: 'other-key' } });
  await world.clock.advance(TTL);
  t.deepEqual(world.events, ['seen kek', 'withdrawn kek']);
  t.is(dek.verifiedAtMs, verifiedAtMs);
});

test('refusal, then an outage: pending, no new DEKs, one more ttl, asked again every 5 s, purged by the next no', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  const { dek, ciphertext } = await key.seal({ tenant: 'a' });
  const startMs = dek.verifiedAtMs;
  plain(t, key.encrypt({ tenant: 'a' }));
  world.upstream.script({ answer: refused('kek'), times: 1 }, { answer: UNREACHABLE });
  await world.clock.advance(TTL - SECOND);
  t.deepEqual(world.events.slice(0, 3), ['seen kek', `outage ${MAIN}`, 'pending kek']);
  t.true(world.keyrings.refusalPending(dek));
  t.false(plain(t, key.encrypt({ tenant: 'a' })).grace, 'until ttl it serves as it would have');
  const calls = world.upstream.count('wrap');
  t.is(await world.reason(() => key.encrypt({ tenant: 'new' })), 'UPSTREAM_UNAVAILABLE');
  t.is(world.upstream.count('wrap'), calls, 'no new DEK was tried for');
  await world.clock.advance(2 * SECOND);
  t.true(plain(t, key.encrypt({ tenant: 'a' })).grace);
  // Seen at 0.85 ttl.
  await world.clock.advance(startMs + 1.85 * TTL - SECOND - world.clock.bootMs());
  t.true(plain(t, key.decrypt(ciphertext, { tenant: 'a' })).grace);
  await world.clock.advance(2 * SECOND);
  const late = await world.outcome(key.decrypt(ciphertext, { tenant: 'a' }));
  t.is('error' in late && late.error.reason, 'UPSTREAM_UNAVAILABLE');
  t.is(late.tookMs, 0);
  world.upstream.answer(refused('kek'));
  await world.clock.advance(6 * SECOND);
  t.is(dek.place, 'gone');
  t.is(world.events.at(-1), 'confirmed kek 1');
});

test('refusal, then an outage, then a yes: the DEK serves on', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { dek } = await key.seal();
  plain(t, key.encrypt());
  world.upstream.script({ answer: refused('kek'), times: 1 }, { answer: HANG });
  await world.clock.advance(1.5 * TTL);
  t.true(world.events.includes('pending kek'));
  world.upstream.answer(OK);
  await world.clock.advance(6 * SECOND);
  t.false(world.keyrings.refusalPending(dek));
  t.false(plain(t, key.encrypt()).grace);
  t.is(world.events.at(-1), 'withdrawn kek');
});

test('the DEK that met the refusal is evicted before the confirmation: another one is asked about', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'], cache: { maxPartitions: 2 } });
  const a = await key.seal({ tenant: 'a' });
  const b = await key.seal({ tenant: 'b' });
  plain(t, key.encrypt({ tenant: 'b' }));
  plain(t, key.encrypt({ tenant: 'a' }));
  world.clock.randoms.push(0.8, 0.9);
  world.upstream.script({ operation: 'unwrap', kek: MAIN, answer: refused('kek') });
  while (world.events.length === 0) await world.clock.advance(10);
  const reporter = a.dek.refreshing === undefined && world.upstream.calls.at(-1)!.context === a.dek.wrapContext ? a : b;
  const witness = reporter === a ? b : a;
  world.keyrings.byName('orders')!.remove(reporter.dek);
  await world.clock.advance(4 * SECOND);
  t.is(witness.dek.place, 'gone');
  t.is(world.events.at(-1), 'confirmed kek 1');
});

test('only the confirming call asks for a new connection and a fresh credential', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext } = await key.seal();
  world.upstream.script({ operation: 'unwrap', answer: refused('kek'), times: 1 });
  const before = world.upstream.count();
  world.clock.suspend(2 * TTL);
  t.is((await world.value(key.decrypt(ciphertext))).text, 'hello');
  t.deepEqual(world.events, ['seen kek', 'withdrawn kek']);
  const asked = world.upstream.calls.slice(before).map(({ fresh }) => fresh);
  // The last one: what the refusal was met with, once or twice, came before it.
  t.deepEqual(asked.indexOf(true), asked.length - 1);
});

for (const moment of ['seen', 'pending'] as const) {
  test(`a refusal that was ${moment} and is forgotten takes nothing from a later outage’s grace; an older one stands`, async (t) => {
    const world = makeWorld(t);
    const key = world.key({ partitionBy: ['tenant'] });
    const use = async (tenant: string): Promise<Dek> => {
      const { dek } = await key.seal({ tenant });
      plain(t, key.encrypt({ tenant }));
      return dek;
    };
    const nth = async (event: string, count: number): Promise<void> => {
      while (world.events.filter((one) => one === event).length < count) await world.clock.advance(100);
    };
    const older = await use('older');
    await world.clock.advance(MINUTE);
    const drilled = await use('drilled');
    world.upstream.answer(UNREACHABLE);
    for (const tenant of ['older', 'drilled']) {
      world.upstream.script({
        operation: 'unwrap',
        pair: ['tenant', tenant],
        answer: refused('access'),
        times: 1,
      });
    }
    await nth('pending access', 1);
    const sinceMs = world.clock.bootMs();
    await nth(`${moment} access`, 2);
    world.keyrings.forgetRefusals('elsewhere', 0);
    t.true(world.keyrings.refusalPending(drilled));
    world.keyrings.forgetRefusals('scripted', sinceMs);
    t.is(world.events.at(-1), 'withdrawn access');
    t.false(world.keyrings.refusalPending(drilled));
    t.true(world.keyrings.refusalPending(older));
    await world.clock.advance(2 * TTL);
    t.true((await world.value(key.encrypt({ tenant: 'drilled' }))).grace);
    t.is(await world.reason(() => key.encrypt({ tenant: 'older' })), 'UPSTREAM_UNAVAILABLE');
  });
}

test('two recipients refuse, and neither is settled: the word of one does not undo what the other refused', async (t) => {
  const world = makeWorld(t);
  const key = world.key({
    recipients: [
      ['main', 'authority'],
      ['spare', 'authority'],
    ],
  });
  const { ciphertext } = await key.seal();
  for (const name of ['main', 'spare']) {
    const alone = world.key({ name, recipients: [[name, 'authority']] });
    await alone.seal();
    plain(t, alone.encrypt());
    world.upstream.script({ kek: uriOf(name), answer: UNREACHABLE });
    world.upstream.script({ kek: uriOf(name), operation: 'unwrap', answer: refused('kek'), times: 1 });
    const pending = () => world.events.filter((event) => event === 'pending kek').length;
    for (const before = pending(); pending() === before; ) await world.clock.advance(100);
  }
  key.ring.flush();
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'UPSTREAM_UNAVAILABLE');
  world.upstream.script({ kek: MAIN, answer: OK });
  const calls = world.upstream.count();
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'UPSTREAM_UNAVAILABLE');
  t.is(world.upstream.count(), calls);
  world.upstream.answer(OK);
  await world.clock.advance(10 * SECOND);
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'none');
});
