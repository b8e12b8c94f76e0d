import test, { type ExecutionContext } from 'ava';
import type { Reason } from '../../src/errors.ts';
import { type Answer, HANG, OK, THROTTLED, UNAUTHENTICATED, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { Load } from './load.ts';
import { HOUR, type KeySetup, MINUTE, makeResilientWorld, plain, SECOND } from './world.ts';

// Section 5's table through whole outages, with what dekd has between a KEK and its upstream: grace.test.ts has its single cells.

const OUTAGES: Record<string, Answer> = { HANG, UNREACHABLE, THROTTLED, UNAUTHENTICATED };

const REASONS: Record<string, Reason> = {
  HANG: 'UPSTREAM_UNAVAILABLE',
  UNREACHABLE: 'UPSTREAM_UNAVAILABLE',
  THROTTLED: 'UPSTREAM_THROTTLED',
  UNAUTHENTICATED: 'UPSTREAM_UNAUTHENTICATED',
};

function worldWith(t: ExecutionContext, cache: KeySetup['cache'], deks = 0) {
  const world = makeResilientWorld(t);
  const setup = { partitionBy: ['tenant'], cache: { ttlMs: MINUTE, graceMs: 10 * MINUTE, ...cache } };
  const key = world.key(setup);
  return { world, key, setup, load: Load.of(key, deks) };
}

for (const [name, answer] of Object.entries(OUTAGES)) {
  test(`${name}: what is used serves all through it, and never waits: its state was known before ttl`, async (t) => {
    const { world, load: loading } = worldWith(t, {}, 10);
    const load = await loading;
    await load.run(MINUTE / 2);
    world.upstream.answer(answer);
    const startedAtMs = world.clock.bootMs();
    await load.run(5 * MINUTE);
    t.deepEqual(load.failed, []);
    t.is(load.slowestMs, 0);
    const late = load.uses.filter(({ atMs }) => atMs > startedAtMs + MINUTE);
    t.true(late.length > 1_000 && late.every(({ grace }) => grace === true));
  });

  test(`${name} with a ttl of 1 s: nothing fails, no use waits over 1 s, and none at all once the breaker is open`, async (t) => {
    const { world, load: loading } = worldWith(t, { ttlMs: SECOND }, 20);
    const load = await loading;
    await load.run(3 * SECOND, { everyMs: 50 });
    world.upstream.answer(answer);
    await load.run(5 * SECOND, { everyMs: 50 });
    t.deepEqual(load.failed, []);
    t.true(load.slowestMs <= SECOND, `${load.slowestMs}`);
    t.not(world.kek('main').broken, undefined);
    load.forget();
    await load.run(10 * SECOND, { everyMs: 50 });
    t.deepEqual(load.failed, []);
    t.is(load.slowestMs, 0);
    t.true(load.uses.every(({ grace }) => grace === true));
  });

  test(`${name}: of DEKs that were idle past ttl only the first use waits, 1 s at most, and none once the breaker is open`, async (t) => {
    const { world, key, load: loading } = worldWith(t, {}, 30);
    await loading;
    await world.clock.advance(2 * MINUTE);
    world.upstream.answer(answer);
    const first = await world.outcome(key.encrypt({ tenant: 't0' }));
    t.true('value' in first && first.value.grace);
    t.true(first.tookMs <= SECOND);
    t.true(plain(t, key.encrypt({ tenant: 't0' })).grace);
    t.true(plain(t, key.encrypt({ tenant: 't1' })).grace, 'its KEK failed a moment ago');
    await world.clock.advance(30 * SECOND);
    t.not(world.kek('main').broken, undefined);
    for (let tenant = 2; tenant < 30; tenant++) t.true(plain(t, key.encrypt({ tenant: `t${tenant}` })).grace);
  });

  test(`${name}: past grace the answer is UNAVAILABLE at once, whatever is held, and no request asks`, async (t) => {
    const { world, key, load: loading } = worldWith(t, { graceMs: 10 * SECOND }, 2);
    const writer = world.peer({ partitionBy: ['tenant'] });
    const unknown = await writer.seal({ tenant: 'other' });
    const load = await loading;
    await load.run(MINUTE / 2);
    const known = await key.seal({ tenant: 't0' });
    world.upstream.answer(answer);
    await load.run(35 * SECOND);
    // Held still, and not to serve: the beat removes it within 5 s.
    world.clock.suspend(10 * SECOND);
    const refuses = async (held: number): Promise<void> => {
      t.is(key.held.length, held);
      for (const call of [
        () => key.encrypt({ tenant: 't0' }),
        () => key.decrypt(known.ciphertext, { tenant: 't0' }),
        () => key.encrypt({ tenant: 'new' }),
        () => key.decrypt(unknown.ciphertext, { tenant: 'other' }),
      ]) {
        const calls = world.upstream.count();
        const { unwraps } = key.ring.counters;
        const outcome = await world.outcome(call());
        t.is('error' in outcome && outcome.error.reason, REASONS[name]!);
        t.is(outcome.tookMs, 0);
        t.true(
          'error' in outcome && outcome.error.retryAfterMs! >= SECOND && outcome.error.retryAfterMs! <= 5 * SECOND,
        );
        t.is(world.upstream.count(), calls);
        t.is(key.ring.counters.unwraps, unwraps);
      }
    };
    await refuses(2);
    await world.clock.advance(10 * SECOND);
    await refuses(0);
    await world.clock.advance(10 * MINUTE);
    await refuses(0);
  });

  test(`${name}: its end is noticed within 5 s, though nothing is held`, async (t) => {
    const { world, key } = worldWith(t, {});
    world.upstream.answer(answer);
    for (let tenant = 0; tenant < 5; tenant++) await world.reason(() => key.encrypt({ tenant: `t${tenant}` }));
    await world.clock.advance(10 * MINUTE);
    t.true(world.kek('main').outage);
    const calls = world.upstream.count();
    await world.clock.advance(5 * SECOND);
    t.true(world.upstream.count() > calls, 'probed');
    world.upstream.answer(OK);
    await world.clock.advance(5 * SECOND);
    t.false(world.kek('main').outage);
    t.is(world.events.at(-1), `recovery ${world.kek('main').uri}`);
    t.is(world.edge.breaker, 'closed');
    t.false((await world.value(key.encrypt({ tenant: 't0' }))).grace);
  });
}

test('a machine that slept in an outage serves in grace at once, before the next probe', async (t) => {
  const { world, key, load: loading } = worldWith(t, { graceMs: 120 * MINUTE }, 1);
  const load = await loading;
  world.upstream.answer(HANG);
  await load.run(5 * MINUTE, { everyMs: SECOND });
  t.not(world.kek('main').broken, undefined);
  world.clock.suspend(60 * MINUTE);
  t.true(plain(t, key.encrypt({ tenant: 't0' })).grace);
});

test('a single failure, before any breaker opens, is probed too, though nothing is held', async (t) => {
  const { world, key } = worldWith(t, {});
  world.upstream.answer(UNAUTHENTICATED);
  t.is(await world.reason(() => key.encrypt({ tenant: 't' })), 'UPSTREAM_UNAUTHENTICATED');
  t.is(world.kek('main').broken, undefined);
  world.upstream.answer(OK);
  await world.clock.advance(5 * SECOND);
  t.is(world.kek('main').health.state, 'unknown');
  t.is(world.kek('main').health.failureClass, 'unauthenticated');
});

for (const [name, answer, least, most] of [
  ...Object.entries(OUTAGES).map(([name, answer]) => [name, answer, 12, 20] as const),
  ['THROTTLED, which asks for 20 s', { ...THROTTLED, retryAfterMs: 20_000 } as Answer, 2, 3],
] as const) {
  test(`${name}: it costs ${least} to ${most} calls a minute, whatever is held and asked for`, async (t) => {
    const { world, key, load: loading } = worldWith(t, {}, 50);
    const load = await loading;
    await load.run(10 * SECOND);
    world.upstream.answer(answer);
    await load.run(3 * MINUTE, { everyMs: SECOND });
    const calls = world.upstream.count();
    for (let minute = 0; minute < 5; minute++) {
      await load.run(MINUTE, { everyMs: 10 * SECOND });
      await world.reason(() => key.encrypt({ tenant: `new${minute}` }));
    }
    const perMinute = (world.upstream.count() - calls) / 5;
    t.true(perMinute >= least && perMinute <= most, `${perMinute}`);
    t.deepEqual(load.failed, []);
    t.is(key.ring.counters.purged, 0);
  });
}

for (const refresh of ['verify', 'renew'] as const) {
  test(`refresh ${refresh}, two upstreams out, one comes back: it is shown as back, the other as out`, async (t) => {
    const world = makeResilientWorld(t, { apart: true });
    const cache = { refresh, verifyWrap: refresh === 'verify', graceMs: 10 * HOUR };
    const recipients = [
      ['a', 'authority'],
      ['b', 'authority'],
    ] as const;
    const key = world.key({ recipients, cache });
    await key.seal();
    await world.clock.advance(6 * MINUTE);
    world.upstream.answer(UNREACHABLE);
    for (const recipient of recipients) {
      const alone = world.key({ name: recipient[0], recipients: [recipient], partitionBy: ['tenant'] });
      for (let tenant = 0; tenant < 6; tenant++) await world.reason(() => alone.encrypt({ tenant: `${tenant}` }));
    }
    t.true(world.kek('a').outage && world.kek('b').outage);
    world.upstream.answer(OK, { kek: world.kek('a').uri });
    await world.clock.advance(MINUTE);
    t.false(world.kek('a').outage);
    t.true(world.kek('b').outage);
  });
}
