import test from 'ava';
import { type Answer, HANG, THROTTLED, UNAUTHENTICATED, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { Load, seeded } from './load.ts';
import { MINUTE, makeResilientWorld, SECOND, type World } from './world.ts';

const DEKS = 20;
const TTL = 10 * SECOND;
/** Without any failure it is 20 DEKs every 8.5 s: 141. */
const MOST_PER_MINUTE = 250;
const UP: Answer = { kind: 'ok', afterMs: 20 };

/** Answers with one and the other in turn, each for `forMs`. */
function flap(world: World, forMs: number, down: Answer): void {
  let isUp = false;
  const turn = (): void => {
    isUp = !isUp;
    world.upstream.answer(isUp ? UP : down);
    world.clock.after(forMs, turn);
  };
  turn();
}

const SCENES: readonly [name: string, periodMs: number, down: Answer][] = [
  ['100 ms up, 100 ms unreachable', 100, UNREACHABLE],
  ['100 ms up, 100 ms hanging', 100, HANG],
  ['3 s up, 3 s unreachable', 3 * SECOND, UNREACHABLE],
  ['3 s up, 3 s hanging', 3 * SECOND, HANG],
  ['3 s up, 3 s throttled, which asks for 20 s', 3 * SECOND, { ...THROTTLED, retryAfterMs: 20_000 } as Answer],
  ['3 s up, 3 s unauthenticated', 3 * SECOND, UNAUTHENTICATED],
];

for (const [name, periodMs, down] of SCENES) {
  test(`${name}: nothing that is held fails or is purged`, async (t) => {
    const world = makeResilientWorld(t);
    world.clock.randoms.splice(0, 1, ...seeded(5_000));
    const key = world.key({ partitionBy: ['tenant'], cache: { ttlMs: TTL, graceMs: 60 * MINUTE } });
    const load = await Load.of(key, DEKS);
    await load.run(5 * SECOND);
    flap(world, periodMs, down);
    world.upstream.calls.length = 0;
    load.forget();
    await load.run(3 * MINUTE, { everyMs: 500 });
    t.deepEqual(load.failed, []);
    t.true(load.slowestMs <= SECOND, `${load.slowestMs}`);
    t.is(key.ring.counters.purged, 0);
    t.is(key.held.length, DEKS);
    const perMinute = world.upstream.count() / 3;
    t.log(
      `${perMinute} calls a minute, ${load.uses.filter(({ tookMs }) => tookMs > 0).length} of ${load.uses.length} waited, ${load.uses.filter(({ grace }) => grace).length} in grace`,
    );
    t.true(perMinute <= MOST_PER_MINUTE, `${perMinute}`);
  });
}

test('flapping puts no DEK off again and again: each is asked about within a ttl', async (t) => {
  const world = makeResilientWorld(t);
  world.clock.randoms.splice(0, 1, ...seeded(5_000));
  const setup = { partitionBy: ['tenant'], cache: { ttlMs: 5 * MINUTE, graceMs: 60 * MINUTE } };
  const writer = world.peer(setup);
  const messages: { pairs: { tenant: string }; ciphertext: Buffer }[] = [];
  for (let tenant = 0; tenant < DEKS; tenant++) {
    const pairs = { tenant: `t${tenant}` };
    messages.push({ pairs, ciphertext: (await writer.seal(pairs)).ciphertext });
  }
  writer.world.keyrings.close();
  const key = world.key(setup);
  const load = new Load(key, messages);
  const options = { everyMs: SECOND, encrypts: false };
  await load.run(10 * SECOND, options);
  world.upstream.answer(UNREACHABLE);
  await load.run(6 * MINUTE, options);
  const outMs = world.clock.bootMs();
  flap(world, 5 * SECOND, UNREACHABLE);
  await load.run(5 * MINUTE + 10 * SECOND, options);
  t.deepEqual(load.failed, []);
  const verified = key.held.filter(({ verifiedAtMs }) => verifiedAtMs > outMs).length;
  t.is(verified, DEKS);
  t.is(load.slowestMs, 0, 'and none of them by a use that waited');
});
