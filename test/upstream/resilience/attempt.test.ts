import test from 'ava';
import { UpstreamFailure } from '../../../src/upstream/failure.ts';
import { type AttemptOptions, attempt, GivenUp } from '../../../src/upstream/resilience/attempt.ts';
import { MovableClock, settled } from '../../helpers/movable-clock.ts';

function setUp(): { clock: MovableClock; control: AbortController; late: string[]; options: AttemptOptions<string> } {
  const clock = new MovableClock();
  const control = new AbortController();
  const late: string[] = [];
  const options = { clock, signal: control.signal, timeOutMs: 1_000, discard: (one: string) => void late.push(one) };
  return { clock, control, late, options };
}

function outcomeOf(promise: Promise<string>): Promise<string> {
  return promise.then(
    (value) => value,
    (thrown: unknown) => {
      if (thrown instanceof GivenUp) return 'given up';
      return thrown instanceof UpstreamFailure ? thrown.class : String(thrown);
    },
  );
}

test('an answer, and an error, are passed on; no timer is left', async (t) => {
  const { clock, options } = setUp();
  t.is(await attempt(options, async () => 'answer'), 'answer');
  t.is(await outcomeOf(attempt(options, () => Promise.reject(new Error('late')))), 'Error: late');
  const throws = (): Promise<string> => {
    throw new Error('at once');
  };
  t.is(await outcomeOf(attempt(options, throws)), 'Error: at once');
  t.is(clock.timers, 0);
});

test('no answer in its time is unreachable, and aborts the call', async (t) => {
  const { clock, options } = setUp();
  let ended = false;
  const hang = (signal: AbortSignal) =>
    new Promise<string>(() => signal.addEventListener('abort', () => (ended = true)));
  const outcome = outcomeOf(attempt(options, hang));
  await clock.advance(999);
  t.false(ended);
  await clock.advance(1);
  t.is(await outcome, 'unreachable');
  t.true(ended);
});

test('whoever asked stops waiting: given up, and the call is aborted', async (t) => {
  const { clock, control, options } = setUp();
  let ended = false;
  const hang = (signal: AbortSignal) =>
    new Promise<string>(() => signal.addEventListener('abort', () => (ended = true)));
  const outcome = outcomeOf(attempt(options, hang));
  control.abort();
  t.is(await outcome, 'given up');
  t.true(ended);
  t.is(clock.timers, 0);
  t.is(await outcomeOf(attempt(options, () => Promise.reject(new Error('must not be called')))), 'given up');
});

test('what comes too late goes to `discard`, once', async (t) => {
  const { clock, late, options } = setUp();
  let answer: (value: string) => void = () => undefined;
  const outcome = outcomeOf(attempt(options, () => new Promise((resolve) => (answer = resolve))));
  await clock.advance(1_000);
  t.is(await outcome, 'unreachable');
  answer('handle');
  await settled();
  t.deepEqual(late, ['handle']);
});
