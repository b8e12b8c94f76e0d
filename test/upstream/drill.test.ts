import test from 'ava';
import { createKey, freeKey, openArena, type SlotHandle } from '../../src/crypto/native.ts';
import { type Drill, DrilledUpstream } from '../../src/upstream/drill.ts';
import { UpstreamFailure } from '../../src/upstream/failure.ts';
import type { WrapContext } from '../../src/upstream/provider.ts';
import { ScriptedUpstream } from '../fakes/scripted-upstream.ts';
import { MovableClock } from '../helpers/movable-clock.ts';

test.before(() => {
  openArena({ size: 64 * 1024, lock: 'best-effort' });
});

const CONTEXT: WrapContext = { pairs: new Map(), encoded: Buffer.alloc(4) };
const SIGNAL = new AbortController().signal;
const MINUTE = 60_000;

class World {
  readonly clock = new MovableClock();
  readonly inner = new ScriptedUpstream(this.clock);
  readonly upstream = new DrilledUpstream(this.inner, this.clock);
  readonly ended: Drill[] = [];
  readonly dek: SlotHandle = createKey('dek');

  constructor() {
    this.upstream.onEnd = (drill) => this.ended.push(drill);
  }

  /** How each operation ends: "ok", or the class of its failure. */
  async outcomes(): Promise<string[]> {
    const { upstream } = this;
    const wrapped = await this.inner.wrap('k', this.dek, CONTEXT, { signal: SIGNAL });
    this.inner.calls.length = 0;
    const unwrap = async (): Promise<void> => freeKey(await upstream.unwrap('k', wrapped, CONTEXT, { signal: SIGNAL }));
    return Promise.all([
      outcome(upstream.wrap('k', this.dek, CONTEXT, { signal: SIGNAL })),
      outcome(unwrap()),
      outcome(upstream.describe('k', { signal: SIGNAL, fresh: true })),
    ]);
  }

  async end(): Promise<void> {
    await this.upstream.close();
    freeKey(this.dek);
  }
}

async function outcome(answer: Promise<unknown>): Promise<string> {
  try {
    await answer;
    return 'ok';
  } catch (thrown) {
    if (!(thrown instanceof UpstreamFailure)) throw thrown;
    return `${thrown.class}${thrown.scope === undefined ? '' : ` (${thrown.scope})`}: ${thrown.message}`;
  }
}

for (const failureClass of ['unreachable', 'throttled', 'unauthenticated', 'refused'] as const) {
  test(`while a drill runs, every operation fails as ${failureClass} and none reaches the upstream`, async (t) => {
    const world = new World();
    t.deepEqual(await world.outcomes(), ['ok', 'ok', 'ok']);
    t.is(world.inner.calls.length, 3);
    t.is(world.upstream.drill, undefined);

    const drill = world.upstream.start({ failureClass, durationMs: 2 * MINUTE });
    t.deepEqual(drill, {
      failureClass,
      startedAtMs: world.clock.bootMs(),
      endsAtMs: world.clock.bootMs() + 2 * MINUTE,
    });
    t.deepEqual(world.upstream.drill, drill);
    const scope = failureClass === 'refused' ? ' (access)' : '';
    const text = `${failureClass}${scope}: a drill: this upstream is made to look ${failureClass}`;
    t.deepEqual(await world.outcomes(), [text, text, text]);
    t.is(world.inner.calls.length, 0);

    await world.clock.advance(2 * MINUTE - 1);
    t.deepEqual(world.ended, []);
    t.deepEqual(await world.outcomes(), [text, text, text]);
    await world.clock.advance(1);
    t.deepEqual(world.ended, [drill]);
    t.is(world.upstream.drill, undefined);
    t.deepEqual(await world.outcomes(), ['ok', 'ok', 'ok']);
    await world.end();
  });
}

test('a drill that is stopped is over at once, and does not end again', async (t) => {
  const world = new World();
  t.false(world.upstream.stop());
  world.upstream.start({ failureClass: 'refused', durationMs: MINUTE });
  t.true(world.upstream.stop());
  t.false(world.upstream.stop());
  t.is(world.upstream.drill, undefined);
  t.deepEqual(await world.outcomes(), ['ok', 'ok', 'ok']);
  await world.clock.advance(2 * MINUTE);
  t.deepEqual(world.ended, []);
  t.is(world.clock.timers, 0);
  await world.end();
});

test('a second drill replaces the first, with its own class and end', async (t) => {
  const world = new World();
  world.upstream.start({ failureClass: 'unreachable', durationMs: MINUTE });
  const second = world.upstream.start({ failureClass: 'throttled', durationMs: 2 * MINUTE });
  t.is(world.clock.timers, 1);
  await world.clock.advance(MINUTE);
  t.deepEqual(world.upstream.drill, second);
  t.deepEqual(world.ended, []);
  await world.clock.advance(MINUTE);
  t.deepEqual(world.ended, [second]);
  await world.end();
});

test('a drill whose time passed while the machine slept is over, and ends once', async (t) => {
  const world = new World();
  const drill = world.upstream.start({ failureClass: 'unreachable', durationMs: MINUTE });
  world.clock.suspend(MINUTE);
  t.deepEqual(await world.outcomes(), ['ok', 'ok', 'ok']);
  t.deepEqual(world.ended, [drill]);
  await world.clock.advance(2 * MINUTE);
  t.deepEqual(world.ended, [drill]);
  await world.end();
});

test('the rest is the upstream’s own, also in a drill', async (t) => {
  const world = new World();
  world.upstream.start({ failureClass: 'unreachable', durationMs: MINUTE });
  t.is(world.upstream.type, world.inner.type);
  t.is(world.upstream.warnings, world.inner.warnings);
  t.is(world.upstream.resolve('local:orders'), world.inner.resolve('local:orders'));
  t.false(world.upstream.allowsUnprovenOrigin);
  world.inner.allowsUnprovenOrigin = true;
  t.true(world.upstream.allowsUnprovenOrigin);
  await world.upstream.close();
  t.is(world.clock.timers, 0);
  t.deepEqual(world.ended, []);
  freeKey(world.dek);
});
