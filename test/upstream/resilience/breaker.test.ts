import test from 'ava';
import { DekdError } from '../../../src/errors.ts';
import { type FailureClass, UpstreamFailure } from '../../../src/upstream/failure.ts';
import { GivenUp } from '../../../src/upstream/resilience/attempt.ts';
import { Breaker } from '../../../src/upstream/resilience/breaker.ts';
import { MovableClock, settled } from '../../helpers/movable-clock.ts';

function failure(failureClass: FailureClass, retryAfterMs?: number): UpstreamFailure {
  return new UpstreamFailure(failureClass, 'scripted', retryAfterMs === undefined ? {} : { retryAfterMs });
}

class Scene {
  readonly clock = new MovableClock();
  readonly told: string[] = [];
  readonly probes: { kek: string; way: string; atMs: number }[] = [];
  /** What a probe gets. */
  answer: () => Promise<unknown> = () => Promise.reject(failure('unreachable'));
  readonly breaker: Breaker;

  constructor(opens: readonly FailureClass[] = ['unreachable']) {
    this.breaker = new Breaker({
      clock: this.clock,
      opens,
      ask: (kek, way) => {
        this.probes.push({ kek, way, atMs: this.clock.bootMs() });
        return this.answer();
      },
      onOut: ({ class: failureClass }, isFirst) => this.told.push(isFirst ? `open ${failureClass}` : 'still'),
      onClose: () => this.told.push('closed'),
    });
  }

  /** The class with which a call at `kek` ends; `open` = it was not made. */
  async call(thrown?: Error, kek = 'main', proves = true): Promise<string> {
    let made = false;
    try {
      await this.breaker.run(
        kek,
        async () => {
          made = true;
          if (thrown !== undefined) throw thrown;
        },
        proves,
      );
      return 'ok';
    } catch (error) {
      if (!made) return 'open';
      return error instanceof UpstreamFailure ? error.class : String(error);
    }
  }

  async fail(times: number, thrown: Error = failure('unreachable')): Promise<void> {
    for (let count = 0; count < times; count++) await this.call(thrown);
  }

  /** What callers brought fails so often. */
  async failOfCallers(times: number): Promise<void> {
    for (let count = 0; count < times; count++) await this.call(failure('unreachable'), 'main', false);
  }
}

test('five failures in a row open it; no call is made then, and each hears the class and when to come again', async (t) => {
  const scene = new Scene();
  await scene.fail(4);
  t.false(scene.breaker.isOpen);
  t.is(scene.breaker.failure, undefined);
  await scene.fail(1);
  t.true(scene.breaker.isOpen);
  t.is(await scene.call(), 'open');
  t.is(scene.breaker.failure?.class, 'unreachable');
  t.is(scene.breaker.failure?.retryAfterMs, 3_000);
  await scene.clock.advance(2_900);
  t.is(scene.breaker.failure?.retryAfterMs, 1_000, 'never so soon that nothing can be known');
  t.deepEqual(scene.told, ['open unreachable']);
});

for (const answer of [undefined, failure('refused'), failure('invalid'), failure('throttled')]) {
  test(`an answer in between (${answer?.class ?? 'ok'}) begins the count anew`, async (t) => {
    const scene = new Scene();
    await scene.fail(4);
    await scene.call(answer);
    await scene.fail(4);
    t.false(scene.breaker.isOpen);
  });
}

for (const [name, thrown] of [
  ['a call that was given up', new GivenUp()],
  ['a shortage of our own', new DekdError('SECRET_MEMORY_EXHAUSTED', 'no slot')],
] as const) {
  test(`${name} says nothing`, async (t) => {
    const scene = new Scene();
    await scene.fail(4);
    await scene.fail(10, thrown);
    t.false(scene.breaker.isOpen);
    await scene.fail(1);
    t.true(scene.breaker.isOpen);
  });
}

test('to a breaker that throttling opens, unreachable says nothing', async (t) => {
  const scene = new Scene(['throttled', 'unauthenticated']);
  await scene.fail(4, failure('throttled'));
  await scene.fail(10, failure('unreachable'));
  t.false(scene.breaker.isOpen);
  await scene.fail(1, failure('unauthenticated'));
  t.true(scene.breaker.isOpen);
  t.is(scene.breaker.failure?.class, 'unauthenticated');
  scene.answer = () => Promise.reject(failure('unreachable'));
  await scene.clock.advance(3_000);
  t.true(scene.breaker.isOpen, 'but a probe without an answer leaves it open');
});

test('one probe each 3 s, of the KEK that failed last, and no call beside it', async (t) => {
  const scene = new Scene();
  await scene.fail(4);
  await scene.call(failure('unreachable'), 'second');
  const openedAtMs = scene.clock.bootMs();
  await scene.clock.advance(60_000);
  t.is(scene.probes.length, 20);
  t.deepEqual([...new Set(scene.probes.map(({ kek }) => kek))], ['second']);
  t.is(scene.probes[0]!.atMs - openedAtMs, 3_000);
  t.is(await scene.call(), 'open');
  t.deepEqual(scene.told, ['open unreachable', ...Array.from({ length: 20 }, () => 'still')]);
});

test('probes have jitter, and two of them are never 5 s apart, also when each takes its second', async (t) => {
  for (const random of [0, 0.999_999]) {
    const scene = new Scene();
    scene.clock.randoms[0] = random;
    const { clock } = scene;
    scene.answer = async () => {
      await new Promise<void>((resolve) => clock.after(1_000, resolve));
      throw failure('unreachable');
    };
    await scene.fail(5);
    await clock.advance(60_000);
    const gaps = scene.probes.slice(1).map(({ atMs }, index) => atMs - scene.probes[index]!.atMs);
    for (const gap of gaps) t.true(gap >= 3_300 && gap < 5_000, `${gap}`);
  }
});

for (const answer of [undefined, failure('refused'), failure('invalid'), failure('throttled')]) {
  test(`a probe that is answered (${answer?.class ?? 'ok'}) closes it`, async (t) => {
    const scene = new Scene();
    await scene.fail(5);
    scene.answer = () => (answer === undefined ? Promise.resolve() : Promise.reject(answer));
    await scene.clock.advance(3_000);
    t.false(scene.breaker.isOpen);
    t.is(await scene.call(), 'ok');
    t.deepEqual(scene.told, ['open unreachable', 'closed']);
    t.is(scene.clock.timers, 0);
    await scene.fail(4);
    t.false(scene.breaker.isOpen, 'it takes five again');
  });
}

test('while a probe is under way calls fail at once, too', async (t) => {
  const scene = new Scene();
  const answer = Promise.withResolvers<void>();
  scene.answer = () => answer.promise;
  await scene.fail(5);
  await scene.clock.advance(3_000);
  t.is(scene.probes.length, 1);
  t.is(await scene.call(), 'open');
  answer.resolve();
  await settled();
  t.is(await scene.call(), 'ok');
});

test('a wall clock that steps, forward or back, closes nothing and lets nothing through', async (t) => {
  const scene = new Scene();
  const now = Date.now;
  t.teardown(() => {
    Date.now = now;
  });
  await scene.fail(5);
  for (const stepMs of [-1e12, 1e12]) {
    Date.now = () => now() + stepMs;
    t.is(await scene.call(), 'open');
    await scene.clock.advance(3_000);
  }
  t.is(scene.probes.length, 2);
  scene.answer = async () => undefined;
  await scene.clock.advance(3_000);
  t.false(scene.breaker.isOpen);
});

test('a throttling upstream is probed when it wishes to, within 30 s', async (t) => {
  for (const [wishMs, probedMs] of [
    [10_000, 10_000],
    [3_600_000, 30_000],
  ] as const) {
    const scene = new Scene(['throttled']);
    await scene.fail(5, failure('throttled', wishMs));
    t.is(scene.breaker.failure?.retryAfterMs, probedMs);
    await scene.clock.advance(probedMs - 1);
    t.is(scene.probes.length, 0);
    await scene.clock.advance(1);
    t.is(scene.probes.length, 1);
  }
});

test('a call from before it opened that ends while a probe runs leaves it to the next probe', async (t) => {
  const scene = new Scene();
  const slow = Promise.withResolvers<never>();
  const early = scene.breaker.run('main', () => slow.promise).catch(() => undefined);
  await scene.fail(5);
  const answer = Promise.withResolvers<void>();
  scene.answer = () => answer.promise;
  await scene.clock.advance(3_000);
  slow.reject(failure('unreachable'));
  await early;
  answer.resolve();
  await settled();
  t.true(scene.breaker.isOpen);
  await scene.clock.advance(3_000);
  t.false(scene.breaker.isOpen);
  t.deepEqual(scene.told, ['open unreachable', 'still', 'closed']);
});

test('stopped, it probes no more, not even after a probe that was under way', async (t) => {
  const scene = new Scene();
  await scene.fail(5);
  scene.breaker.stop();
  t.is(scene.clock.timers, 0);
  const other = new Scene();
  const answer = Promise.withResolvers<void>();
  other.answer = () => answer.promise;
  await other.fail(5);
  await other.clock.advance(3_000);
  other.breaker.stop();
  answer.reject(failure('unreachable'));
  await settled();
  t.is(other.clock.timers, 0);
});

test('what callers brought fails: it opens only when the upstream, asked at once, gives no answer either', async (t) => {
  const scene = new Scene();
  await scene.failOfCallers(4);
  t.is(scene.probes.length, 0);
  await scene.failOfCallers(1);
  await settled();
  t.deepEqual(
    scene.probes.map(({ kek, way }) => [kek, way]),
    [['main', 'unwrap']],
  );
  t.true(scene.breaker.isOpen);
  t.deepEqual(scene.told, ['open unreachable']);
});

test('what callers brought fails for ever and the upstream answers: never open, and asked once a second at most', async (t) => {
  const scene = new Scene();
  scene.answer = async () => undefined;
  for (let tenth = 0; tenth < 100; tenth++) {
    await scene.failOfCallers(10);
    t.false(scene.breaker.isOpen);
    await scene.clock.advance(100);
  }
  t.true(scene.probes.length >= 9 && scene.probes.length <= 10, `${scene.probes.length}`);
  t.is(await scene.call(), 'ok');
  t.deepEqual(scene.told, []);
});

test('while it is asked, callers’ calls wait for what it says, and others go through', async (t) => {
  const scene = new Scene();
  const answer = Promise.withResolvers<void>();
  scene.answer = () => answer.promise;
  await scene.failOfCallers(5);
  let ended = 'waits';
  const call = scene.call(undefined, 'main', false).then((how) => {
    ended = how;
  });
  t.is(await scene.call(failure('refused')), 'refused');
  await settled();
  t.is(ended, 'waits');
  answer.reject(failure('unreachable'));
  await call;
  t.is(ended, 'ok', 'an answer came meanwhile: one failure is none in a row');
  t.false(scene.breaker.isOpen);
});

test('one failure of what no caller brought is enough beside four that they did', async (t) => {
  const scene = new Scene();
  await scene.failOfCallers(4);
  await scene.fail(1);
  t.true(scene.breaker.isOpen);
  t.is(scene.probes.length, 0);
});

test('probes ask by turns, by description first, so that one way without an answer does not keep it open', async (t) => {
  const scene = new Scene();
  await scene.fail(5);
  await scene.clock.advance(12_000);
  t.deepEqual(
    scene.probes.map(({ way }) => way),
    ['describe', 'use', 'describe', 'use'],
  );
});

test('stopped, it does not ask whether it is out', async (t) => {
  const scene = new Scene();
  await scene.failOfCallers(4);
  scene.breaker.stop();
  await scene.failOfCallers(4);
  t.is(scene.probes.length, 0);
});
