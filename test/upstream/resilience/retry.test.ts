import test from 'ava';
import { DekdError } from '../../../src/errors.ts';
import { type FailureClass, UpstreamFailure } from '../../../src/upstream/failure.ts';
import { GivenUp } from '../../../src/upstream/resilience/attempt.ts';
import { retrying } from '../../../src/upstream/resilience/retry.ts';
import { MovableClock } from '../../helpers/movable-clock.ts';

interface Try {
  readonly atMs: number;
  readonly timeOutMs: number;
}

/** Each call fails after `tookMs` with the next of `failures`, then succeeds. */
async function play(
  failures: readonly unknown[],
  { tookMs = 10, random = 0.5, signal = new AbortController().signal } = {},
): Promise<{ result: unknown; tries: Try[]; endedAtMs: number }> {
  const clock = new MovableClock();
  clock.randoms[0] = random;
  const startedAtMs = clock.bootMs();
  const tries: Try[] = [];
  let result: unknown = 'nothing';
  let endedAtMs = -1;
  const left = [...failures];
  const once = async (timeOutMs: number): Promise<string> => {
    tries.push({ atMs: clock.bootMs() - startedAtMs, timeOutMs });
    await new Promise<void>((resolve) => clock.after(tookMs, resolve));
    if (left.length > 0) throw left.shift();
    return 'answer';
  };
  retrying(clock, signal, once)
    .then(
      (value) => (result = value),
      (thrown: unknown) => (result = thrown),
    )
    .finally(() => (endedAtMs = clock.bootMs() - startedAtMs));
  await clock.advance(5_000);
  return { result, tries, endedAtMs };
}

function failure(failureClass: FailureClass, retryAfterMs?: number): UpstreamFailure {
  return new UpstreamFailure(failureClass, 'scripted', retryAfterMs === undefined ? {} : { retryAfterMs });
}

for (const failureClass of ['unreachable', 'throttled'] as const) {
  test(`a quick ${failureClass} is tried again, twice at most`, async (t) => {
    const twice = await play([failure(failureClass), failure(failureClass)]);
    t.is(twice.result, 'answer');
    t.is(twice.tries.length, 3);
    const last = failure(failureClass);
    const more = await play([failure(failureClass), failure(failureClass), last, failure(failureClass)]);
    t.is(more.result, last);
    t.is(more.tries.length, 3);
  });
}

for (const failureClass of ['unauthenticated', 'refused', 'invalid'] as const) {
  test(`${failureClass} is never tried again`, async (t) => {
    const first = failure(failureClass);
    const { result, tries } = await play([first]);
    t.is(result, first);
    t.is(tries.length, 1);
  });
}

for (const thrown of [new DekdError('SECRET_MEMORY_EXHAUSTED', 'no slot'), new GivenUp()]) {
  test(`${thrown.name} ${thrown.message}: nothing of the upstream's, never tried again`, async (t) => {
    const { result, tries } = await play([thrown]);
    t.is(result, thrown);
    t.is(tries.length, 1);
  });
}

test('pauses have full jitter: from none at all to 100 ms, then 200 ms', async (t) => {
  const failures = [failure('unreachable'), failure('unreachable')];
  const at = async (random: number) => (await play(failures, { random })).tries.map(({ atMs }) => atMs);
  t.deepEqual(await at(0), [0, 10, 20]);
  t.deepEqual(await at(1), [0, 110, 320]);
});

test('all tries together have one second, and each has what is left of it', async (t) => {
  const { tries } = await play([failure('unreachable'), failure('unreachable')], { random: 1 });
  for (const { atMs, timeOutMs } of tries) t.is(atMs + timeOutMs, 1_000);
});

test('a failure that was slow, or that asks for a longer pause, is not tried again', async (t) => {
  const slow = failure('unreachable');
  t.deepEqual((await play([slow], { tookMs: 501 })).tries.length, 1);
  const patient = failure('throttled', 600);
  const { result, tries } = await play([patient]);
  t.is(result, patient);
  t.is(tries.length, 1);
  t.is((await play([failure('throttled', 300)])).tries[1]?.atMs, 310);
});

test('whoever asked stopped waiting in the pause: given up', async (t) => {
  const control = new AbortController();
  const aborting = failure('unreachable');
  const { result, tries } = await play([aborting], {
    signal: Object.defineProperty(control.signal, 'aborted', { get: () => true }),
  });
  t.true(result instanceof GivenUp);
  t.is(tries.length, 1);
});
