import test from 'ava';
import { OK, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { Load } from './load.ts';
import { MINUTE, makeResilientWorld, SECOND, uriOf } from './world.ts';

// What opens a breaker, and what closes it: nothing that a caller brings, and nothing that only one kind of call meets.

const TTL = MINUTE;
const CACHE = { ttlMs: TTL, graceMs: 30 * MINUTE };
const MAIN = uriOf('main');

test('an upstream that never answers describe: the breaker closes by the unwrap of a DEK that is held, and no use fails or waits', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key({ partitionBy: ['tenant'], cache: CACHE });
  const load = await Load.of(key, 5);
  world.upstream.answer(UNREACHABLE);
  await load.run(2 * TTL, { everyMs: SECOND });
  t.is(world.edge.breaker, 'open');
  world.upstream.answer(OK);
  world.upstream.script({ operation: 'describe', answer: UNREACHABLE });
  const backAtMs = world.clock.bootMs();
  while (world.edge.breaker === 'open' && world.clock.bootMs() < backAtMs + MINUTE) await load.run(200);
  t.true(world.clock.bootMs() - backAtMs <= 8 * SECOND, 'two probes at most');
  await load.run(TTL, { everyMs: SECOND });
  load.forget();
  await load.run(2 * SECOND);
  t.true(load.uses.every(({ grace }) => grace === false));
  t.is(load.slowestMs, 0);
});

test('… also when the DEK that is held is under another KEK of that endpoint', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key({ cache: CACHE });
  await key.seal();
  const other = world.key({ name: 'other', recipients: [['other', 'authority']], partitionBy: ['tenant'] });
  world.upstream.answer(UNREACHABLE);
  for (let count = 0; count < 6; count++) await world.reason(() => other.encrypt({ tenant: `${count}` }));
  t.is(world.edge.breaker, 'open');
  world.upstream.answer(OK);
  world.upstream.script({ operation: 'describe', answer: UNREACHABLE });
  await world.clock.advance(8 * SECOND);
  t.is(world.edge.breaker, 'closed');
  t.is(await world.reason(() => other.encrypt({ tenant: 'new' })), 'none');
});

test('ciphertexts that an upstream fails on keep nobody else from it: no breaker opens, no DEK serves in grace', async (t) => {
  const world = makeResilientWorld(t);
  const setup = { name: 'forged', recipients: [['forged', 'authority']], partitionBy: ['tenant'] } as const;
  const forged = world.key(setup);
  const writer = world.peer(setup);
  const blocks: Buffer[] = [];
  for (let count = 0; count < 40; count++) blocks.push((await writer.seal({ tenant: `${count}` })).ciphertext);
  writer.world.keyrings.close();
  const carts = world.key({ name: 'carts', partitionBy: ['tenant'], cache: CACHE });
  const load = await Load.of(carts, 5);
  world.upstream.script({ kek: uriOf('forged'), operation: 'unwrap', answer: UNREACHABLE });
  for (let second = 0; second < 3 * 60; second++) {
    for (let count = 0; count < 12; count++) {
      const tenant = `${(second * 12 + count) % blocks.length}`;
      void Promise.resolve(forged.decrypt(blocks[Number(tenant)]!, { tenant })).catch(() => undefined);
    }
    await load.run(SECOND, { everyMs: 500 });
    t.is(world.edge.breaker, 'closed');
    t.is(await world.reason(() => carts.encrypt({ tenant: `new ${second}` })), 'none');
    t.false(world.kek('forged').outage, 'nor does its KEK look out');
  }
  t.deepEqual(world.events, []);
  t.deepEqual(load.failed, []);
  t.true(load.uses.every(({ grace }) => grace === false));
  const checks = world.upstream.calls.filter(({ operation }) => operation === 'describe').length;
  t.true(checks <= 3 * 60 + 60, `${checks} questions whether it is out`);
});

test('when it really is out, misses alone open it: five that get no answer, and one question', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  world.upstream.answer({ kind: 'hang' });
  const startMs = world.clock.bootMs();
  for (let count = 0; count < 5; count++) void key.seal({ tenant: `${count}` }).catch(() => undefined);
  while (world.edge.breaker === 'closed' && world.clock.bootMs() < startMs + 10 * SECOND) await world.clock.advance(50);
  t.true(world.clock.bootMs() - startMs <= 2 * SECOND + 50);
  t.is(world.upstream.count('describe', MAIN), 1);
  t.is(await world.reason(() => key.encrypt({ tenant: 'new' })), 'UPSTREAM_UNAVAILABLE');
});

test('an upstream that never answers describe, and no DEK is held: a wrap closes it', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  world.upstream.answer(UNREACHABLE);
  for (let count = 0; count < 6; count++) await world.reason(() => key.encrypt({ tenant: `${count}` }));
  t.is(world.edge.breaker, 'open');
  world.upstream.script({ operation: 'wrap', answer: OK }, { operation: 'unwrap', answer: OK });
  await world.clock.advance(8 * SECOND);
  t.is(world.edge.breaker, 'closed');
  t.is(world.kek('main').health.state, 'unknown');
  world.upstream.calls.length = 0;
  await world.clock.advance(MINUTE);
  t.is(world.edge.breaker, 'closed', 'nor does it open again while nobody calls');
  t.is(world.upstream.count(), 0);
  t.is(await world.reason(() => key.encrypt({ tenant: 'new' })), 'none');
});
