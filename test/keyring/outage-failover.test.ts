import test, { type ExecutionContext } from 'ava';
import { type Answer, HANG, OK, refused, THROTTLED, UNAUTHENTICATED, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { Load } from './load.ts';
import { MINUTE, makeResilientWorld, SECOND, uriOf } from './world.ts';

// failover.test.ts has the single steps; here an authority is out for long, with breakers before it and its standby.

const MAIN = uriOf('main');
const SPARE = uriOf('spare');
const TTL = MINUTE;
const SETUP = {
  recipients: [
    ['main', 'authority'],
    ['spare', 'standby'],
  ],
  partitionBy: ['tenant'],
  cache: { ttlMs: TTL, graceMs: 10 * MINUTE },
} as const;

function worldOf(t: ExecutionContext) {
  const world = makeResilientWorld(t, { apart: true });
  return { world, key: world.key(SETUP), writer: world.peer(SETUP) };
}

for (const [name, answer] of Object.entries({ HANG, UNREACHABLE, THROTTLED, UNAUTHENTICATED }) as [string, Answer][]) {
  test(`authority ${name}: its standby serves in the same miss, at once when the breaker is open; nothing is in grace; and back again`, async (t) => {
    const { world, key, writer } = worldOf(t);
    const messages: { pairs: { tenant: string }; ciphertext: Buffer }[] = [];
    for (let tenant = 0; tenant < 30; tenant++) {
      const pairs = { tenant: `t${tenant}` };
      messages.push({ pairs, ciphertext: (await writer.seal(pairs)).ciphertext });
    }
    writer.world.keyrings.close();
    world.upstream.script({ kek: MAIN, answer });
    const first = await world.outcome(key.decrypt(messages[0]!.ciphertext, messages[0]!.pairs));
    t.is('value' in first && first.value.dek.verifiedBy, 'standby');
    t.true(first.tookMs <= 1_050);
    for (const { ciphertext, pairs } of messages.slice(1, 10)) await world.value(key.decrypt(ciphertext, pairs));
    t.not(world.kek('main').broken, undefined);
    t.is(world.kek('spare').broken, undefined);
    world.upstream.calls.length = 0;
    for (const { ciphertext, pairs } of messages.slice(10)) {
      const outcome = await world.outcome(key.decrypt(ciphertext, pairs));
      t.is('value' in outcome && outcome.value.dek.verifiedBy, 'standby');
      t.is(outcome.tookMs, 0);
    }
    t.is(world.upstream.count('unwrap', MAIN), 0);
    const load = new Load(key, messages);
    await load.run(5 * TTL, { everyMs: SECOND, encrypts: false });
    t.deepEqual(load.failed, []);
    t.is(load.slowestMs, 0);
    t.is(load.uses.filter(({ grace }) => grace).length, 0);
    t.true(key.held.every(({ verifiedBy }) => verifiedBy === 'standby'));
    world.upstream.answer(OK);
    await load.run(2 * TTL, { everyMs: SECOND, encrypts: false });
    t.true(key.held.every(({ verifiedBy }) => verifiedBy === 'authority'));
    t.is(world.kek('main').health.state, 'ok');
    t.deepEqual(load.failed, []);
  });
}

test('an authority that refuses after its outage: the standby is not asked, and what it vouched for falls', async (t) => {
  const { world, key } = worldOf(t);
  const load = await Load.of(key, 10);
  world.upstream.script({ kek: MAIN, answer: UNREACHABLE });
  await load.run(3 * TTL, { everyMs: SECOND });
  t.true(key.held.every(({ verifiedBy }) => verifiedBy === 'standby'));
  world.upstream.answer(OK);
  world.upstream.script({ kek: MAIN, answer: refused('kek', 'disabled') });
  while (world.kek('main').broken !== undefined) await world.clock.advance(100);
  world.upstream.calls.length = 0;
  load.forget();
  await load.run(10 * SECOND, { everyMs: 500 });
  t.is(key.held.length, 0, 'at the probe and its confirmation, not at the end of ttl');
  t.is(world.upstream.count('unwrap', SPARE), 0);
  t.deepEqual([...new Set(load.failed.map(({ reason }) => reason))], ['KEY_DISABLED']);
});

test('a standby that goes and comes back again and again keeps no DEK from being asked about at its authority', async (t) => {
  const { world, key } = worldOf(t);
  const load = await Load.of(key, 1);
  const spare = world.kek('spare');
  const flap = async (): Promise<void> => {
    // Five calls with their retries, and the unwrap that confirms the outage.
    world.upstream.script({ kek: SPARE, answer: UNREACHABLE, times: 16 });
    for (let count = 0; count < 5; count++) {
      await world.outcome(spare.describe(new AbortController().signal).catch(() => undefined));
    }
    t.not(spare.broken, undefined);
    while (spare.broken !== undefined) await load.run(SECOND / 2);
    await load.run(SECOND);
  };
  await flap();
  world.upstream.script({ kek: MAIN, answer: refused('kek', 'disabled') });
  const revokedAtMs = world.clock.bootMs();
  while (key.held.length > 0 && world.clock.bootMs() < revokedAtMs + 2 * TTL) await flap();
  t.is(key.held.length, 0);
  t.true(world.clock.bootMs() - revokedAtMs <= TTL + 10 * SECOND, `${world.clock.bootMs() - revokedAtMs}`);
});

test('both out: grace, and past it UNAVAILABLE at once; the standby that comes back first serves', async (t) => {
  const { world, key } = worldOf(t);
  const load = await Load.of(key, 10);
  world.upstream.answer(HANG);
  await load.run(3 * TTL, { everyMs: SECOND });
  t.deepEqual(load.failed, []);
  t.true(load.uses.at(-1)?.grace);
  world.upstream.script({ kek: SPARE, answer: OK });
  await load.run(TTL, { everyMs: SECOND });
  load.forget();
  await load.run(5 * SECOND);
  t.is(load.uses.filter(({ grace }) => grace).length, 0);
  t.true(key.held.every(({ verifiedBy }) => verifiedBy === 'standby'));
});

test('a DEK that must be wrapped for all costs no call while one of them is out', async (t) => {
  const { world, key } = worldOf(t);
  world.upstream.script({ kek: SPARE, answer: HANG });
  for (let tenant = 0; tenant < 5; tenant++) await world.reason(() => key.encrypt({ tenant: `t${tenant}` }));
  // Asked whether it is out, it does not answer either.
  await world.clock.advance(SECOND);
  t.not(world.kek('spare').broken, undefined);
  world.upstream.calls.length = 0;
  const outcome = await world.outcome(key.encrypt({ tenant: 'new' }));
  t.is('error' in outcome && outcome.error.reason, 'UPSTREAM_UNAVAILABLE');
  t.is(outcome.tookMs, 0);
  t.is(world.upstream.count(), 0);
  world.upstream.answer(OK);
  await world.clock.advance(5 * SECOND);
  t.false((await world.value(key.encrypt({ tenant: 'new' }))).grace);
});

test('KEKs at one endpoint share its breaker; at endpoints of their own they do not', async (t) => {
  for (const apart of [false, true]) {
    const world = makeResilientWorld(t, { apart });
    const key = world.key({ partitionBy: ['tenant'] });
    world.kek('spare');
    world.upstream.answer(UNREACHABLE);
    for (let tenant = 0; tenant < 5; tenant++) await world.reason(() => key.encrypt({ tenant: `t${tenant}` }));
    t.not(world.kek('main').broken, undefined);
    t.is(world.kek('spare').broken === undefined, apart);
    t.is(world.kek('spare').outage, !apart);
  }
});
