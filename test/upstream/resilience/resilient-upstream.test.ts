import test, { type ExecutionContext } from 'ava';
import { createKey, freeKey, openArena } from '../../../src/crypto/native.ts';
import { DekdError } from '../../../src/errors.ts';
import { UpstreamFailure } from '../../../src/upstream/failure.ts';
import type { Upstream } from '../../../src/upstream/provider.ts';
import { hasBreakers, type KekWatcher } from '../../../src/upstream/resilience/breakers.ts';
import { CALLS, FAILURES_TO_OPEN } from '../../../src/upstream/resilience/limits.ts';
import { type BreakerChange, ResilientUpstream } from '../../../src/upstream/resilience/resilient-upstream.ts';
import {
  type Answer,
  HANG,
  INVALID,
  OK,
  refused,
  ScriptedUpstream,
  THROTTLED,
  UNAUTHENTICATED,
  UNREACHABLE,
} from '../../fakes/scripted-upstream.ts';
import { MovableClock } from '../../helpers/movable-clock.ts';

const context = { pairs: new Map(), encoded: Buffer.alloc(4) };

class Scene {
  readonly clock = new MovableClock();
  readonly inner = new ScriptedUpstream(this.clock);
  readonly edge = new ResilientUpstream('scripted', this.inner, this.clock);
  readonly changes: BreakerChange[] = [];
  readonly heard: string[] = [];
  /** Unwraps the DEK that is held, if one is. */
  held: KekWatcher['unwrapHeld'] | undefined;

  constructor(t: ExecutionContext) {
    openArena({ size: 1 << 20, lock: 'best-effort' });
    this.edge.onBreaker = (change) => this.changes.push(change);
    t.teardown(() => this.edge.close());
  }

  watch(kek: string): void {
    this.edge.watch(kek, {
      onOut: ({ class: failureClass }) => this.heard.push(`${kek} ${failureClass}`),
      onClose: () => this.heard.push(`${kek} closed`),
      unwrapHeld: (unwrap) => this.held?.(unwrap),
    });
  }

  /** How a wrap ends, and how long it takes. */
  async wrap(kek = 'a', signal = new AbortController().signal): Promise<{ how: string; tookMs: number }> {
    const dek = createKey('dek');
    const beganAtMs = this.clock.bootMs();
    let ended: { how: string; tookMs: number } | undefined;
    const end = (how: string): void => {
      ended = { how, tookMs: this.clock.bootMs() - beganAtMs };
    };
    this.edge.wrap(kek, dek, context, { signal }).then(
      () => end('ok'),
      (error: unknown) => end(error instanceof UpstreamFailure ? error.class : DekdError.from(error).reason),
    );
    while (ended === undefined) await this.clock.advance(10);
    freeKey(dek);
    return ended;
  }
}

const ENDS: readonly [Answer, how: string, attempts: number][] = [
  [OK, 'ok', 1],
  [UNREACHABLE, 'unreachable', 3],
  [THROTTLED, 'throttled', 3],
  [HANG, 'unreachable', 1],
  [UNAUTHENTICATED, 'unauthenticated', 1],
  [refused('kek'), 'refused', 1],
  [INVALID, 'invalid', 1],
  [{ kind: 'throw', thrown: new Error('what a provider should not throw') }, 'unreachable', 3],
  [{ kind: 'throw', thrown: new Error('at once'), synchronously: true }, 'unreachable', 3],
  [{ kind: 'throw', thrown: new DekdError('SECRET_MEMORY_EXHAUSTED', 'no slot') }, 'SECRET_MEMORY_EXHAUSTED', 1],
];

for (const [answer, how, attempts] of ENDS) {
  test(`${JSON.stringify(answer)}: ${how} after ${attempts}, within a second`, async (t) => {
    const scene = new Scene(t);
    scene.inner.answer(answer);
    const ended = await scene.wrap();
    t.is(ended.how, how);
    t.is(scene.inner.count('wrap'), attempts);
    t.true(ended.tookMs <= 1_000);
  });
}

test('it passes on what the upstream is, and describes and unwraps as it does', async (t) => {
  const scene = new Scene(t);
  const { edge, inner } = scene;
  t.deepEqual([edge.type, edge.warnings, edge.resolve('x'), edge.endpoint('x')], ['local', [], 'x', '']);
  t.false(edge.allowsUnprovenOrigin);
  const { signal } = new AbortController();
  const dek = createKey('dek');
  const wrapped = await edge.wrap('a', dek, context, { signal });
  freeKey(await edge.unwrap('a', wrapped, context, { signal, fresh: true }));
  freeKey(dek);
  t.true(inner.calls.at(-1)?.fresh);
  t.is((await edge.describe('a', { signal })).state, 'active');
  const other = { ...inner, type: 'pkcs11', allowsUnprovenOrigin: true, endpoint: () => 'e' } as unknown as Upstream;
  const round = new ResilientUpstream('other', other, scene.clock);
  t.deepEqual([round.type, round.allowsUnprovenOrigin, round.endpoint('x')], ['pkcs11', true, 'e']);
  t.true(hasBreakers(round));
  t.false(hasBreakers(inner));
});

test('a DEK that comes after its time is zeroed', async (t) => {
  const { clock, edge, inner } = new Scene(t);
  const late = createKey('dek');
  let answer: (handle: typeof late) => void = () => undefined;
  inner.unwrap = () => new Promise((resolve) => (answer = resolve));
  const { signal } = new AbortController();
  const wrapped = { kekVersion: '1', algorithm: 6, bytes: Buffer.alloc(72) };
  const failure = edge.unwrap('a', wrapped, context, { signal }).catch((error: UpstreamFailure) => error.class);
  await clock.advance(1_000);
  t.is(await failure, 'unreachable');
  answer(late);
  await clock.advance(0);
  t.throws(() => freeKey(late), { code: 'ERR_STALE_HANDLE' });
});

test('the endpoint’s breaker is told to all of its KEKs, once, and to the log', async (t) => {
  const scene = new Scene(t);
  scene.watch('a');
  scene.watch('b');
  scene.inner.answer(UNREACHABLE);
  for (let count = 0; count < FAILURES_TO_OPEN; count++) await scene.wrap('a');
  t.is(scene.edge.breaker, 'open');
  t.true(scene.edge.isBroken('b'));
  t.is(scene.edge.brokenBy('b')?.class, 'unreachable');
  t.deepEqual(await scene.wrap('b'), { how: 'unreachable', tookMs: 0 });
  t.is(scene.inner.count('wrap', 'b'), 0);
  const openedAtMs = scene.clock.bootMs();
  t.deepEqual(scene.heard.splice(0), ['a unreachable', 'b unreachable']);
  await scene.clock.advance(10_000);
  t.deepEqual([...new Set(scene.heard.splice(0))], ['a unreachable', 'b unreachable'], 'and after each probe');
  scene.inner.answer(OK);
  await scene.clock.advance(5_000);
  t.deepEqual(scene.heard, ['a closed', 'b closed']);
  const [opened, closed] = scene.changes;
  t.like(opened, { state: 'open', kek: undefined, endpoint: '', openMs: 0 });
  t.is(opened?.failure.class, 'unreachable');
  t.is(closed?.state, 'closed');
  t.true(closed!.openMs >= 10_000 && closed!.openMs <= scene.clock.bootMs() - openedAtMs);
  t.is(scene.changes.length, 2);
  t.deepEqual(await scene.wrap('b'), { how: 'ok', tookMs: 0 });
});

for (const [name, answer] of [
  ['throttled', THROTTLED],
  ['unauthenticated', UNAUTHENTICATED],
] as const) {
  test(`${name} opens the breaker of its KEK alone`, async (t) => {
    const scene = new Scene(t);
    scene.watch('a');
    scene.watch('b');
    scene.inner.script({ kek: 'a', answer });
    for (let count = 0; count < FAILURES_TO_OPEN; count++) await scene.wrap('a');
    t.is(scene.edge.brokenBy('a')?.class, name);
    t.is(scene.edge.brokenBy('b'), undefined);
    t.is(scene.edge.breaker, 'closed');
    t.deepEqual(await scene.wrap('b'), { how: 'ok', tookMs: 0 });
    await scene.clock.advance(10_000);
    t.is(scene.edge.brokenBy('a')?.class, name, 'a probe, too, gets that answer');
    scene.inner.answer(OK);
    await scene.clock.advance(5_000);
    t.is(scene.edge.brokenBy('a'), undefined);
    t.deepEqual([...new Set(scene.heard)], [`a ${name}`, 'a closed']);
    t.deepEqual(
      scene.changes.map(({ state, kek, failure }) => [state, kek, failure.class]),
      [
        ['open', 'a', name],
        ['closed', 'a', name],
      ],
    );
  });
}

test('a call is told of once the upstream is asked, however often; not of one that a full room or a breaker kept from it', async (t) => {
  const { clock, edge, inner } = new Scene(t);
  let asked = 0;
  const wrap = (signal: AbortSignal, payer?: number): Promise<string> => {
    const dek = createKey('dek');
    const call = edge.wrap('a', dek, context, { signal, payer, onAsked: () => asked++ });
    return call
      .then(
        () => 'ok',
        (error: unknown) => (error instanceof UpstreamFailure ? error.class : DekdError.from(error).reason),
      )
      .finally(() => freeKey(dek));
  };
  const { signal } = new AbortController();
  inner.script({ answer: UNREACHABLE, times: 2 });
  const tried = wrap(signal);
  await clock.advance(1_000);
  t.is(await tried, 'ok');
  t.deepEqual([asked, inner.count('wrap')], [1, 3]);

  inner.answer(HANG);
  asked = 0;
  const leaving = new AbortController();
  const ends = Array.from({ length: CALLS.miss.atOnceOfOne + 10 }, () => wrap(leaving.signal, 1000));
  const begins = wrap(leaving.signal, 1001);
  await clock.advance(0);
  t.is(asked, CALLS.miss.atOnceOfOne + 1);
  leaving.abort();
  await clock.advance(0);
  t.deepEqual([...new Set(await Promise.all([...ends, begins]))], ['unreachable']);
  t.is(asked, CALLS.miss.atOnceOfOne + 1, 'those that waited were given up before they were made');

  inner.answer(UNREACHABLE);
  for (let count = 0; count < FAILURES_TO_OPEN; count++) {
    const failing = wrap(signal);
    await clock.advance(1_000);
    await failing;
  }
  t.is(edge.breaker, 'open');
  asked = 0;
  t.is(await wrap(signal), 'unreachable');
  t.is(asked, 0);
});

test('an upstream that never answers describe: administrators who ask for descriptions open nothing while it unwraps', async (t) => {
  const scene = new Scene(t);
  const { clock, edge, inner } = scene;
  scene.watch('a');
  scene.held = async () => undefined;
  inner.script({ operation: 'describe', answer: UNREACHABLE });
  const { signal } = new AbortController();
  for (let count = 0; count < 3 * FAILURES_TO_OPEN; count++) {
    const failing = edge.describe('a', { signal, purpose: 'administration' }).catch(() => undefined);
    await clock.advance(1_000);
    await failing;
    t.is(edge.breaker, 'closed');
  }
});

test('closed, it leaves no probe behind', async (t) => {
  const scene = new Scene(t);
  scene.inner.answer(UNREACHABLE);
  for (let count = 0; count < FAILURES_TO_OPEN; count++) await scene.wrap('a');
  scene.inner.answer(THROTTLED);
  await scene.edge.close();
  t.is(scene.clock.timers, 0);
});

test('a call counts once, however often it was tried: one broken connection of many calls opens nothing', async (t) => {
  const scene = new Scene(t);
  scene.inner.script({ answer: UNREACHABLE, times: 50 });
  const ends = await Promise.all(Array.from({ length: 50 }, () => scene.wrap('a')));
  t.deepEqual([...new Set(ends.map(({ how }) => how))], ['ok']);
  t.is(scene.inner.count('wrap'), 100);
  t.is(scene.edge.breaker, 'closed');
  scene.inner.answer(UNREACHABLE);
  for (let count = 1; count < FAILURES_TO_OPEN; count++) await scene.wrap('a');
  t.is(scene.edge.breaker, 'closed');
  await scene.wrap('a');
  t.is(scene.edge.breaker, 'open');
});
