import test, { type ExecutionContext } from 'ava';
import { DrilledUpstream } from '../../src/upstream/drill.ts';
import { ResilientUpstream } from '../../src/upstream/resilience/resilient-upstream.ts';
import { OK, refused, ScriptedUpstream, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { MovableClock, settled } from '../helpers/movable-clock.ts';
import { MINUTE, SECOND, untilEnd, World } from './world.ts';

// When a drill is over, nothing of what it injected is shown as the upstream's state.

function drilled(t: ExecutionContext, isBroken = false) {
  const clock = new MovableClock();
  const upstream = new ScriptedUpstream(clock);
  const drill = new DrilledUpstream(upstream, clock);
  const edge = isBroken ? new ResilientUpstream('scripted', drill, clock) : drill;
  const world = untilEnd(t, new World(clock, upstream, undefined, edge));
  const over = (): void => {
    const { startedAtMs } = drill.drill!;
    drill.stop();
    world.keyrings.forgetRefusals('scripted', startedAtMs);
  };
  return { world, drill, over };
}

for (const failureClass of ['unreachable', 'throttled', 'unauthenticated'] as const) {
  test(`local, no DEK held, a drill of class ${failureClass}: gone as soon as it ends`, async (t) => {
    const { world, drill, over } = drilled(t);
    const key = world.key({ partitionBy: ['tenant'] });
    drill.start({ failureClass, durationMs: MINUTE });
    await world.reason(() => key.encrypt({ tenant: 'new' }));
    const { health } = world.kek('main');
    t.is(health.state, failureClass);
    over();
    await settled();
    t.like(world.kek('main').health, { state: 'unknown', failureClass });
    t.deepEqual(world.events.slice(-2), [`outage ${world.kek('main').uri}`, `recovery ${world.kek('main').uri}`]);
  });
}

test('local, with a DEK that is held: it is asked about, and what it says is the state', async (t) => {
  const { world, drill, over } = drilled(t);
  const key = world.key({ cache: { ttlMs: SECOND } });
  await key.seal();
  drill.start({ failureClass: 'unreachable', durationMs: MINUTE });
  await world.clock.advance(2 * SECOND);
  t.true((await key.seal()).grace);
  over();
  await settled();
  t.is(world.kek('main').health.state, 'ok');
  t.false((await key.seal()).grace);
});

test('local, which is really out when its drill ends: it says so', async (t) => {
  const { world, drill, over } = drilled(t);
  const key = world.key({ partitionBy: ['tenant'] });
  drill.start({ failureClass: 'throttled', durationMs: MINUTE });
  await world.reason(() => key.encrypt({ tenant: 'new' }));
  world.upstream.answer(UNREACHABLE);
  over();
  await settled();
  t.is(world.kek('main').health.state, 'unreachable');
});

test('behind a breaker its next probe ends it, no DEK held', async (t) => {
  const { world, drill, over } = drilled(t, true);
  const key = world.key({ partitionBy: ['tenant'] });
  drill.start({ failureClass: 'unreachable', durationMs: MINUTE });
  for (let tenant = 0; tenant < 6; tenant++) await world.reason(() => key.encrypt({ tenant: `${tenant}` }));
  t.is(world.kek('main').health.state, 'unreachable');
  over();
  await world.clock.advance(4 * SECOND);
  t.is(world.kek('main').health.state, 'unknown');
  t.is(await world.reason(() => key.encrypt({ tenant: 'new' })), 'none');
});

test('what was refused before the drill is still refused after one that refuses, what the drill refused is not', async (t) => {
  const { world, drill, over } = drilled(t);
  const key = world.key({ partitionBy: ['tenant'] });
  world.upstream.answer(refused('kek'));
  await world.reason(() => key.encrypt({ tenant: 'before' }));
  await world.clock.advance(SECOND);
  drill.start({ failureClass: 'refused', durationMs: MINUTE });
  await world.clock.advance(SECOND);
  over();
  await settled();
  t.is(world.kek('main').health.state, 'refused');
  world.upstream.answer(OK);
  await world.clock.advance(MINUTE);
  await world.value(key.encrypt({ tenant: 'between' }));
  drill.start({ failureClass: 'refused', durationMs: MINUTE });
  await world.reason(() => key.encrypt({ tenant: 'in it' }));
  t.is(world.kek('main').health.state, 'refused');
  over();
  await settled();
  t.is(world.kek('main').health.state, 'unknown');
});
