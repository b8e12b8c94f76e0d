import test from 'ava';
import { OK, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { makeResilientWorld, SECOND } from './world.ts';

// What is known of one KEK while others at its endpoint are otherwise.

test('a KEK that gives no answer while others at its endpoint do: it is asked about itself, and is out until it answers', async (t) => {
  const world = makeResilientWorld(t);
  const kek = world.kek('main');
  const other = world.key({ name: 'other', recipients: [['second', 'authority']], partitionBy: ['tenant'] });
  const key = world.key({ partitionBy: ['tenant'] });
  const misses = async (): Promise<void> => {
    for (let tenant = 0; tenant < 8; tenant++) {
      await world.reason(() => key.encrypt({ tenant: `${world.clock.bootMs()}${tenant}` }));
      await world.value(other.encrypt({ tenant: `${world.clock.bootMs()}${tenant}` }));
    }
  };
  world.upstream.answer(UNREACHABLE, { kek: kek.uri });
  await misses();
  await world.clock.advance(4 * SECOND);
  t.is(world.edge.breaker, 'closed');
  t.is(kek.health.state, 'unreachable');
  t.is(world.kek('second').health.state, 'ok');
  world.upstream.answer(OK, { kek: kek.uri });
  await world.clock.advance(4 * SECOND);
  t.false(kek.outage);
});

test('an endpoint that answers again ends no outage of a KEK that is shut off itself', async (t) => {
  const world = makeResilientWorld(t);
  const shut = world.key({ name: 'shut', recipients: [['main', 'authority']], partitionBy: ['tenant'] });
  const other = world.key({ name: 'other', recipients: [['second', 'authority']], partitionBy: ['tenant'] });
  const kek = world.kek('main');
  world.upstream.answer(UNREACHABLE, { kek: world.kek('second').uri });
  for (let tenant = 0; tenant < 4; tenant++) await world.reason(() => other.encrypt({ tenant: `${tenant}` }));
  world.upstream.answer({ kind: 'fail', class: 'throttled', retryAfterMs: 25_000 }, { kek: kek.uri });
  for (let tenant = 0; tenant < 6; tenant++) await world.reason(() => shut.encrypt({ tenant: `${tenant}` }));
  for (let tenant = 0; tenant < 8; tenant++) await world.reason(() => other.encrypt({ tenant: `x${tenant}` }));
  t.is(world.edge.breaker, 'open');
  t.is(kek.health.state, 'unreachable');
  world.upstream.answer(OK, { kek: world.kek('second').uri });
  for (let step = 0; step < 40 && world.edge.breaker === 'open'; step++) await world.clock.advance(200);
  t.is(world.edge.breaker, 'closed');
  t.is(kek.broken?.class, 'throttled');
  t.is(kek.health.state, 'throttled');
  t.false(world.events.includes(`recovery ${kek.uri}`));
});
