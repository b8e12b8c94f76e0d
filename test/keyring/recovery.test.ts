import test from 'ava';
import { HANG, OK, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { Load, seeded } from './load.ts';
import { MINUTE, makeResilientWorld, plain, SECOND } from './world.ts';

const TTL = MINUTE;

/** Calls at the upstream that were under way at the begin of each, when each takes `tookMs`. */
function atOnce(begins: readonly number[], tookMs: number): number {
  return Math.max(...begins.map((beganMs) => begins.filter((one) => one <= beganMs && one + tookMs > beganMs).length));
}

test('1,000 DEKs after an outage: spread over ttl/2, 4 at once, encrypting DEKs first, and all used meanwhile in grace without a wait', async (t) => {
  const world = makeResilientWorld(t);
  world.clock.randoms.splice(0, 1, ...seeded(20_000));
  const setup = { partitionBy: ['tenant'], cache: { ttlMs: TTL, graceMs: 60 * MINUTE } };
  const key = world.key(setup);
  const writer = world.peer(setup);
  const messages: { pairs: { tenant: string }; ciphertext: Buffer }[] = [];
  for (let tenant = 0; tenant < 900; tenant++) {
    const pairs = { tenant: `decrypts-${tenant}` };
    messages.push({ pairs, ciphertext: (await writer.seal(pairs)).ciphertext });
  }
  writer.world.keyrings.close();
  const decrypts = new Load(key, messages);
  const encrypts = await Load.of(key, 100, 'encrypts-');
  const used = async (forMs: number): Promise<void> => {
    for (let pastMs = 0; pastMs < forMs; pastMs += 5 * SECOND) {
      await decrypts.run(1, { everyMs: 1, encrypts: false });
      await encrypts.run(1, { everyMs: 1 });
      await world.clock.advance(5 * SECOND - 2);
    }
  };
  await used(20 * SECOND);
  t.is(key.held.length, 1_000);
  world.upstream.answer(HANG);
  await used(5 * MINUTE);
  t.is(world.edge.breaker, 'open');
  world.upstream.answer({ kind: 'ok', afterMs: 20 });
  world.upstream.calls.length = 0;
  decrypts.forget();
  encrypts.forget();
  while (world.events.at(-1) !== `recovery ${world.kek('main').uri}`) await world.clock.advance(1);
  const backAtMs = world.clock.bootMs();
  const [, asked] = world.upstream.calls.splice(0, 2);
  t.is(asked?.operation, 'unwrap', 'after the probe');
  await used(TTL);

  t.deepEqual([...decrypts.failed, ...encrypts.failed], []);
  t.is(Math.max(decrypts.slowestMs, encrypts.slowestMs), 0, 'no use waits for its turn');
  const unwraps = world.upstream.calls.filter(({ operation, atMs }) => operation === 'unwrap' && atMs < backAtMs + TTL);
  const begins = unwraps.map(({ atMs }) => atMs - backAtMs);
  t.is(atOnce(begins, 20), 4);
  t.is(unwraps.filter(({ context }) => context.pairs.get('tenant')!.startsWith('encrypts')).length >= 99, true);
  const tenants = unwraps.map(({ context }) => context.pairs.get('tenant')!);
  t.true(
    tenants.slice(0, 99).every((tenant) => tenant.startsWith('encrypts')),
    'encrypting DEKs first',
  );
  // After those, each tenth of ttl/2 has about a tenth of the others.
  const spread = begins.slice(99).filter((atMs) => atMs <= TTL / 2 + SECOND);
  const tenths = Array.from({ length: 10 }, (_, tenth) => {
    const fromMs = (tenth * TTL) / 20;
    return spread.filter((atMs) => atMs >= fromMs && atMs < fromMs + TTL / 20).length;
  });
  t.log(`unwraps in each tenth of ttl/2: ${tenths.join(' ')}`);
  t.true(
    tenths.every((count) => count > 60 && count < 130),
    tenths.join(' '),
  );
  for (const dek of key.held) t.true(dek.verifiedAtMs >= backAtMs - 20, 'verified since');
  const byHalf = new Set(tenants.slice(0, begins.filter((atMs) => atMs <= TTL / 2 + SECOND).length));
  t.is(byHalf.size, 1_000);
  t.is(begins.filter((atMs) => atMs <= TTL / 2 + SECOND).length, 1_000, 'each once');
  decrypts.forget();
  encrypts.forget();
  await used(5 * SECOND);
  t.true([...decrypts.uses, ...encrypts.uses].every(({ grace }) => grace === false));
});

test('a DEK whose turn has not come within a ttl is asked about by its next use', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key({ partitionBy: ['tenant'], cache: { ttlMs: TTL, graceMs: 60 * MINUTE } });
  const load = await Load.of(key, 50);
  world.upstream.answer(UNREACHABLE);
  await load.run(3 * MINUTE, { everyMs: SECOND });
  // Each call takes 900 ms, so 4 at once are done with 50 only after 11 s; they began within that.
  world.upstream.answer({ kind: 'ok', afterMs: 900 });
  await load.run(6 * SECOND);
  const waiting = key.held.filter((dek) => dek.recoversByMs > 0);
  t.true(waiting.length > 10);
  const [dek] = waiting;
  const pairs = Object.fromEntries(dek!.partition);
  t.true(plain(t, key.encrypt(pairs)).grace);
  world.clock.suspend(TTL);
  const outcome = await world.outcome(key.encrypt(pairs));
  t.true('value' in outcome && !outcome.value.grace);
  t.true(outcome.tookMs > 0 && outcome.tookMs <= SECOND);
});

test('past grace nobody waits for a turn: the use asks, and is served fresh', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key({ partitionBy: ['tenant'], cache: { ttlMs: TTL, graceMs: MINUTE } });
  const load = await Load.of(key, 20);
  world.upstream.answer(UNREACHABLE);
  await load.run(MINUTE + 55 * SECOND, { everyMs: SECOND });
  world.upstream.answer({ kind: 'ok', afterMs: 900 });
  while (world.edge.breaker === 'open') await world.clock.advance(100);
  await world.clock.advance(SECOND);
  const dek = key.held.find(({ recoversByMs }) => recoversByMs > 0)!;
  // Until the next beat it is held.
  world.clock.suspend(10 * SECOND);
  t.not(dek.place, 'gone');
  const outcome = await world.outcome(key.encrypt(Object.fromEntries(dek.partition)));
  t.true('value' in outcome && !outcome.value.grace);
});

test('that a KEK can be described does not end an outage: what is held serves at once until one is unwrapped', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key({ partitionBy: ['tenant'], cache: { ttlMs: TTL, graceMs: 60 * MINUTE } });
  const load = await Load.of(key, 10);
  world.upstream.answer(HANG);
  await load.run(3 * MINUTE, { everyMs: SECOND });
  world.upstream.script({ operation: 'describe', answer: OK });
  load.forget();
  world.upstream.calls.length = 0;
  await load.run(3 * MINUTE, { everyMs: SECOND });
  t.deepEqual(load.failed, []);
  t.is(load.slowestMs, 0);
  t.true(load.uses.every(({ grace }) => grace === true));
  t.true(world.upstream.count() <= ((3 * MINUTE) / (3 * SECOND)) * 2, `${world.upstream.count()}`);
  world.upstream.answer(OK);
  await load.run(TTL, { everyMs: SECOND });
  load.forget();
  await load.run(2 * SECOND);
  t.true(load.uses.every(({ grace }) => grace === false));
});
