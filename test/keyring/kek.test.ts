import test, { type ExecutionContext } from 'ava';
import { createKey, freeKey } from '../../src/crypto/native.ts';
import { DekdError } from '../../src/errors.ts';
import type { Kek } from '../../src/keyring/kek.ts';
import {
  type Answer,
  HANG,
  INVALID,
  OK,
  refused,
  THROTTLED,
  UNAUTHENTICATED,
  UNREACHABLE,
} from '../fakes/scripted-upstream.ts';
import { makeResilientWorld, makeWorld, SECOND, type World } from './world.ts';

const context = { pairs: new Map(), encoded: Buffer.alloc(4) };
const wrapped = { kekVersion: '1', algorithm: 6, bytes: Buffer.alloc(72) };

function setUp(t: ExecutionContext): { world: World; kek: Kek; told: string[] } {
  const world = makeWorld(t);
  const kek = world.kek('main');
  const told: string[] = [];
  kek.onOutage = (isFirst) => told.push(isFirst ? 'outage' : 'still out');
  kek.onRecovery = () => told.push('recovery');
  return { world, kek, told };
}

async function wrap(world: World, kek: Kek, signal = new AbortController().signal): Promise<string> {
  const dek = createKey('dek');
  try {
    const outcome = await world.outcome(
      kek.wrap(dek, context, signal).then(
        () => 'ok',
        (error: { class?: string; reason?: string }) => error.class ?? error.reason ?? 'other',
      ),
    );
    return 'value' in outcome ? outcome.value : 'none';
  } finally {
    freeKey(dek);
  }
}

const HEALTH: readonly [Answer, string, state: string, outage: boolean][] = [
  [OK, 'ok', 'ok', false],
  [UNREACHABLE, 'unreachable', 'unreachable', true],
  [HANG, 'unreachable', 'unreachable', true],
  [THROTTLED, 'throttled', 'throttled', true],
  [UNAUTHENTICATED, 'unauthenticated', 'unauthenticated', true],
  [refused('kek'), 'refused', 'refused', false],
  [INVALID, 'invalid', 'ok', false],
  [{ kind: 'throw', thrown: new Error('unknown') }, 'unreachable', 'unreachable', true],
  [{ kind: 'throw', thrown: new Error('unknown'), synchronously: true }, 'unreachable', 'unreachable', true],
];

for (const [answer, result, state, outage] of HEALTH) {
  test(`${JSON.stringify(answer)}: ${result}, health ${state}`, async (t) => {
    const { world, kek } = setUp(t);
    world.upstream.answer(answer);
    t.is(await wrap(world, kek), result);
    t.is(kek.health.state, state as never);
    t.is(kek.outage, outage);
    t.is(kek.failedRecently(world.clock.bootMs()), outage);
    t.is(kek.failedRecently(world.clock.bootMs() + 5 * SECOND + 50), false);
    t.deepEqual([kek.calls, kek.failures], [1, result === 'ok' || result === 'invalid' ? 0 : 1]);
    t.is(world.clock.timers, 1, 'no timer of the attempt is left');
  });
}

test('an attempt ends after 1 s and aborts its call', async (t) => {
  const { world, kek } = setUp(t);
  world.upstream.answer(HANG);
  const startMs = world.clock.bootMs();
  t.is(await wrap(world, kek), 'unreachable');
  t.is(world.clock.bootMs() - startMs, SECOND);
  t.true(world.upstream.calls[0]!.signal.aborted);
});

test('a DEK that comes after the attempt’s time is zeroed', async (t) => {
  const { world, kek } = setUp(t);
  const late = createKey('dek');
  let answer: (handle: typeof late) => void = () => undefined;
  world.upstream.unwrap = () => new Promise((resolve) => (answer = resolve));
  const error = await world.outcome(kek.unwrap(wrapped, context, new AbortController().signal));
  t.true('error' in error);
  answer(late);
  await world.clock.advance(0);
  t.throws(() => freeKey(late), { code: 'ERR_STALE_HANDLE' });
});

test('whoever stops waiting says nothing about the KEK', async (t) => {
  const { world, kek } = setUp(t);
  world.upstream.answer(HANG);
  const control = new AbortController();
  world.clock.after(100, () => control.abort());
  t.is(await wrap(world, kek, control.signal), 'unreachable');
  t.is(kek.health.state, 'unknown');
  t.true(world.upstream.calls[0]!.signal.aborted);
  t.is(await wrap(world, kek, control.signal), 'unreachable');
  t.is(kek.calls, 1, 'an attempt that nobody waits for is not made');
});

test('a refusal of one partition or version is no state of the KEK', async (t) => {
  const { world, kek } = setUp(t);
  for (const scope of ['access', 'version'] as const) {
    world.upstream.answer(refused(scope, 'disabled'));
    t.is(await wrap(world, kek), 'refused');
    t.is(kek.health.state, 'ok', scope);
  }
  world.upstream.answer(refused('kek', 'disabled'));
  await wrap(world, kek);
  t.is(kek.health.state, 'refused');
});

test('a shortage of our own is not an outage', async (t) => {
  const { world, kek } = setUp(t);
  world.upstream.answer({ kind: 'throw', thrown: new DekdError('SECRET_MEMORY_EXHAUSTED', 'no slot') });
  t.is(await wrap(world, kek), 'SECRET_MEMORY_EXHAUSTED');
  t.deepEqual([kek.health.state, kek.failures], ['unknown', 0]);
});

test('outage and recovery are told as they happen; any answer ends an outage', async (t) => {
  const { world, kek, told } = setUp(t);
  for (const answer of [OK, UNREACHABLE, THROTTLED, refused('access'), HANG, INVALID, UNAUTHENTICATED, OK]) {
    world.upstream.answer(answer);
    await wrap(world, kek);
  }
  t.deepEqual(told, ['outage', 'still out', 'recovery', 'outage', 'recovery', 'outage', 'recovery']);
});

test('sinceMs is the begin of a state, atMs its last confirmation', async (t) => {
  const { world, kek } = setUp(t);
  world.upstream.answer(UNREACHABLE);
  await wrap(world, kek);
  const { sinceMs } = kek.health;
  await world.clock.advance(3 * SECOND);
  await wrap(world, kek);
  t.is(kek.health.sinceMs, sinceMs);
  t.is(kek.health.atMs, sinceMs + 3 * SECOND);
});

test('only a refusal of the whole KEK is its condition', async (t) => {
  const { world, kek } = setUp(t);
  for (const [scope, condition] of [
    ['kek', 'disabled'],
    ['version', undefined],
    ['access', undefined],
  ] as const) {
    world.upstream.answer(refused(scope, 'disabled'));
    await wrap(world, kek);
    t.is(kek.health.condition, condition);
  }
});

test('a probe says that the upstream answers, and nothing else of the KEK', async (t) => {
  const { world, kek, told } = setUp(t);
  world.upstream.answer(UNREACHABLE);
  await wrap(world, kek);
  await kek.probe();
  t.is(kek.health.state, 'unreachable');
  t.is(kek.health.atMs, world.clock.bootMs());
  world.upstream.answer(UNAUTHENTICATED);
  await kek.probe();
  t.is(kek.health.state, 'unauthenticated');
  world.upstream.answer(refused('access'));
  await kek.probe();
  t.is(kek.health.state, 'unknown', 'the right to describe is another one');
  t.deepEqual([kek.health.failureClass, kek.calls, kek.failures], ['unauthenticated', 1, 1]);
  t.deepEqual(told, ['outage', 'still out', 'still out', 'recovery']);
  await kek.probe();
  t.is(told.length, 4);
});

test('the last failure stays known when later attempts succeed', async (t) => {
  const { world, kek } = setUp(t);
  t.deepEqual([kek.health.failureClass, kek.health.failedAtMs], [undefined, undefined]);
  world.upstream.answer(THROTTLED);
  await wrap(world, kek);
  const failedAtMs = world.clock.bootMs();
  world.upstream.answer(OK);
  await world.clock.advance(SECOND);
  await wrap(world, kek);
  t.deepEqual([kek.health.state, kek.health.failureClass, kek.health.failedAtMs], ['ok', 'throttled', failedAtMs]);
});

for (const answer of [INVALID, refused('kek', 'disabled'), refused('version'), refused('access')]) {
  const { class: failureClass, scope } = answer as Extract<Answer, { kind: 'fail' }>;
  test(`a caller’s bytes that are ${failureClass} ${scope ?? ''}: no failure of the KEK, and no state`, async (t) => {
    const { world, kek } = setUp(t);
    await wrap(world, kek);
    world.upstream.script({ operation: 'unwrap', answer });
    const { signal } = new AbortController();
    for (let count = 0; count < 20; count++) await world.outcome(kek.unwrap(wrapped, context, signal));
    const { state, condition, failureClass: last, failedAtMs } = kek.health;
    t.deepEqual([state, condition, last, failedAtMs], ['ok', undefined, undefined, undefined]);
    t.is(kek.failures, 0);
    t.true(world.upstream.count('describe') <= 1);
  });
}

test('a KEK that refuses keeps that state, whatever a caller’s bytes are called', async (t) => {
  const { world, kek } = setUp(t);
  world.upstream.answer(refused('kek', 'disabled'));
  await wrap(world, kek);
  const { health } = kek;
  world.upstream.answer(INVALID);
  await world.outcome(kek.unwrap(wrapped, context, new AbortController().signal));
  t.is(kek.health, health);
});

test('a miss that the KEK as a whole refuses has it described, once in 5 s; that it is disabled is then its state', async (t) => {
  const { world, kek } = setUp(t);
  const { signal } = new AbortController();
  const miss = () => world.outcome(kek.unwrap(wrapped, context, signal));
  world.upstream.script({ operation: 'unwrap', answer: refused('kek', 'disabled') });
  world.upstream.states.set(kek.uri, 'disabled');
  for (let count = 0; count < 20; count++) await miss();
  t.is(world.upstream.count('describe'), 1);
  t.deepEqual([kek.health.state, kek.health.condition], ['refused', 'disabled']);
  t.is(kek.health.failureClass, 'refused');
  world.upstream.states.delete(kek.uri);
  await wrap(world, kek);
  await world.clock.advance(5 * SECOND);
  world.upstream.script({ operation: 'describe', answer: refused('kek', 'missing') });
  await miss();
  t.deepEqual([kek.health.state, kek.health.condition], ['refused', 'missing']);
  await wrap(world, kek);
  await world.clock.advance(5 * SECOND);
  for (const answer of [refused('access'), UNREACHABLE]) {
    world.upstream.script({ operation: 'describe', answer });
    await miss();
    await world.clock.advance(5 * SECOND);
    t.is(kek.health.state, 'ok', 'who may not describe says nothing');
  }
});

test('a refusal of what is held is written down at once', async (t) => {
  const { world, kek } = setUp(t);
  world.upstream.answer(refused('kek', 'disabled'));
  await world.outcome(kek.unwrap(wrapped, context, new AbortController().signal, { purpose: 'background' }));
  t.deepEqual([kek.health.state, kek.health.condition, kek.failures], ['refused', 'disabled', 1]);
});

test('behind an open breaker: no attempt, and what comes late changes nothing', async (t) => {
  const world = makeResilientWorld(t);
  const kek = world.kek('main');
  const told: string[] = [];
  kek.onBreakerClosed = () => told.push('closed');
  const late = createKey('dek');
  world.upstream.unwrap = async () => {
    await new Promise<void>((resolve) => world.clock.after(900, resolve));
    return late;
  };
  const slow = kek.unwrap(wrapped, context, new AbortController().signal);
  world.upstream.answer(UNREACHABLE);
  for (let count = 0; count < 5; count++) await wrap(world, kek);
  t.is(kek.broken?.class, 'unreachable');
  const { calls } = kek;
  t.is(await wrap(world, kek), 'unreachable');
  t.is(kek.calls, calls);
  await world.clock.advance(SECOND);
  freeKey(await slow);
  t.is(kek.health.state, 'unreachable');
  await world.clock.advance(20 * SECOND);
  t.true(kek.failedRecently(world.clock.bootMs()));
  world.upstream.answer(OK);
  await world.clock.advance(5 * SECOND);
  t.deepEqual(told, ['closed']);
  t.is(kek.broken, undefined);
  t.true(kek.outage, 'what its calls bring is not known yet');
  t.true(kek.failedRecently(world.clock.bootMs()));
});

test('a KEK that refuses stays so when another one’s outage opens the breaker', async (t) => {
  const world = makeResilientWorld(t);
  const kek = world.kek('main');
  world.upstream.answer(refused('kek', 'disabled'));
  await wrap(world, kek);
  world.upstream.answer(UNREACHABLE);
  for (let count = 0; count < 5; count++) await wrap(world, world.kek('other'));
  t.not(kek.broken, undefined);
  t.deepEqual([kek.health.state, kek.health.condition], ['refused', 'disabled']);
});

test('calls are those that the upstream was asked for, not those that found no room', async (t) => {
  const world = makeResilientWorld(t);
  const kek = world.kek('main');
  world.upstream.answer(HANG);
  const leaving = new AbortController();
  const { signal } = leaving;
  const ends = Array.from({ length: 600 }, () => kek.unwrap(wrapped, context, signal, { payer: 1000 }).then(freeKey));
  const ended = Promise.allSettled(ends);
  await world.clock.advance(10);
  t.is(world.upstream.count(), 48);
  t.is(kek.calls, 48);
  leaving.abort();
  await ended;
  t.deepEqual([kek.calls, kek.failures], [48, 0]);
});

/** How an unwrap ends that is made for that purpose. */
async function unwrapFor(world: World, kek: Kek, purpose: 'miss' | 'refresh' | 'background'): Promise<void> {
  await world.outcome(kek.unwrap(wrapped, context, new AbortController().signal, { purpose }).then(freeKey));
}

test('what callers bring gets no answer: failures, and no outage, while its breaker finds that the upstream answers', async (t) => {
  const world = makeResilientWorld(t);
  const kek = world.kek('main');
  const told: string[] = [];
  kek.onOutage = () => told.push('outage');
  kek.onRecovery = () => told.push('recovery');
  world.upstream.script({ operation: 'unwrap', answer: UNREACHABLE });
  for (let count = 1; count <= 30; count++) {
    await unwrapFor(world, kek, 'miss');
    t.deepEqual([kek.health.state, kek.outage, kek.failures], ['unknown', false, count]);
  }
  t.is(kek.health.failureClass, 'unreachable', 'what failed is known all the same');
  t.is(kek.health.failureText, 'scripted: unreachable');
  world.upstream.script({ operation: 'wrap', answer: OK });
  await wrap(world, kek);
  await unwrapFor(world, kek, 'miss');
  t.is(kek.health.state, 'ok');
  t.deepEqual(told, []);
});

test('… and an outage once its breaker’s own question gets none either', async (t) => {
  const world = makeResilientWorld(t);
  const kek = world.kek('main');
  world.upstream.answer(UNREACHABLE);
  for (let count = 0; count < 4; count++) await unwrapFor(world, kek, 'miss');
  t.false(kek.outage);
  await unwrapFor(world, kek, 'miss');
  await world.clock.advance(SECOND);
  t.is(kek.health.state, 'unreachable');
  t.not(kek.broken, undefined);
});

for (const purpose of ['refresh', 'background'] as const) {
  test(`what no caller brought (${purpose}) gets no answer: an outage at once, which no caller’s failure prolongs`, async (t) => {
    const world = makeResilientWorld(t);
    const kek = world.kek('main');
    world.upstream.answer(UNREACHABLE);
    await unwrapFor(world, kek, purpose);
    t.is(kek.health.state, 'unreachable');
    const { atMs } = kek.health;
    await world.clock.advance(SECOND);
    await unwrapFor(world, kek, 'miss');
    t.is(kek.health.atMs, atMs);
  });
}

for (const [answer, state] of [
  [THROTTLED, 'throttled'],
  [UNAUTHENTICATED, 'unauthenticated'],
] as const) {
  test(`who is ${state} says so of itself, whoever calls`, async (t) => {
    const world = makeResilientWorld(t);
    const kek = world.kek('main');
    world.upstream.answer(answer);
    await unwrapFor(world, kek, 'miss');
    t.is(kek.health.state, state);
  });
}
