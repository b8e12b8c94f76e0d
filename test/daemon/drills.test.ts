import test from 'ava';
import { Drills } from '../../src/daemon/drills.ts';
import { DrilledUpstream } from '../../src/upstream/drill.ts';
import { ScriptedUpstream } from '../fakes/scripted-upstream.ts';
import { MovableClock } from '../helpers/movable-clock.ts';
import { recordingLogger } from './recording-logger.ts';

const MINUTE = 60_000;

function world() {
  const clock = new MovableClock();
  const vault = new DrilledUpstream(new ScriptedUpstream(clock), clock);
  const { logger, lines } = recordingLogger();
  const over: [upstream: string, startedAtMs: number][] = [];
  const drills = new Drills({
    upstreams: new Map([['vault', vault]]),
    onOver: (...drill) => void over.push(drill),
    clock,
    logger,
  });
  return { clock, vault, lines, over, drills };
}

test('a drill is told at its start and its end: the class, until when, by whom', async (t) => {
  const { clock, vault, lines, over, drills } = world();
  const startedAtMs = clock.bootMs();
  const endsAt = clock.wallMs() + 2 * MINUTE;
  t.deepEqual(drills.start('vault', 'throttled', 2 * MINUTE, 'uid 7'), { failureClass: 'throttled', endsAt });
  t.is(vault.drill?.failureClass, 'throttled');
  const start = { level: 'warn', event: 'drill_started', upstream: 'vault', failureClass: 'throttled' } as const;
  t.deepEqual(lines.splice(0), [
    { ...start, endsAt: new Date(endsAt).toISOString(), by: 'uid 7', text: 'a drill: the upstream is made to fail' },
  ]);
  await clock.advance(MINUTE);
  // The wall clock may be set meanwhile: what is shown is when it will be over by the clock as it is now.
  clock.stepWall(5_000);
  t.deepEqual(drills.running('vault'), { failureClass: 'throttled', endsAt: endsAt + 5_000 });
  t.deepEqual(over, []);
  await clock.advance(MINUTE);
  t.is(drills.running('vault'), undefined);
  t.deepEqual(over, [['vault', startedAtMs]]);
  const end = { level: 'warn', event: 'drill_ended', upstream: 'vault', failureClass: 'throttled' } as const;
  t.deepEqual(lines, [{ ...end, text: 'a drill is over: its time has come' }]);
});

test('a drill that is stopped says by whom; where none runs there is nothing to stop', async (t) => {
  const { clock, lines, over, drills } = world();
  t.false(drills.stop('vault', 'uid 8'));
  t.deepEqual([lines, over], [[], []]);
  drills.start('vault', 'refused', MINUTE, 'uid 7');
  t.true(drills.stop('vault', 'uid 8'));
  t.like(lines.at(-1), { level: 'warn', event: 'drill_ended', failureClass: 'refused', by: 'uid 8' });
  t.is(over.length, 1);
  await clock.advance(2 * MINUTE);
  t.is(lines.length, 2);
});

test('a second drill says that it replaces the first; what a first one refused is forgotten', (t) => {
  const { clock, lines, over, drills, vault } = world();
  drills.start('vault', 'unreachable', MINUTE, 'uid 7');
  drills.start('vault', 'refused', MINUTE, 'uid 8');
  t.like(lines.at(-1), {
    event: 'drill_started',
    failureClass: 'refused',
    replaced: 'unreachable',
    by: 'uid 8',
    text: 'a drill: the upstream is made to fail; it replaces the one before',
  });
  t.deepEqual([lines.length, over.length], [2, 0]);
  drills.start('vault', 'unreachable', MINUTE, 'uid 8');
  t.deepEqual(over, [['vault', clock.bootMs()]]);
  vault.stop();
});

test('an upstream that there is not has no drill, and gets none', (t) => {
  const { drills } = world();
  t.is(drills.running('store'), undefined);
  t.throws(() => drills.start('store', 'unreachable', MINUTE, 'uid 7'), { message: /internal error/ });
});
