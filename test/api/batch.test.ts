import test from 'ava';
import { type BatchItem, type BatchResponse, RESULT_BYTES, runBatch } from '../../src/api/batch.ts';
import { itemStatus } from '../../src/api/status.ts';
import { itemErrors } from '../../src/daemon/rpc-errors.ts';
import { DekdError } from '../../src/errors.ts';
import { systemClock } from '../../src/keyring/clock.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { loadProtos } from '../../src/transport/protos.ts';
import { makeCall } from './parts.ts';

const toStatus = itemErrors(loadProtos(), createLogger('silent'));

function run<Q, R>(
  items: readonly Q[],
  work: (item: Q, batch: BatchItem) => R | Promise<R>,
  call = makeCall(),
): BatchResponse<R> | Promise<BatchResponse<R>> {
  return runBatch(items, call, toStatus, work);
}

test('a batch in which nothing waits is synchronous, in order, and its failures hurt nobody', (t) => {
  const answer = run([1, 2, 3], (item) => {
    if (item === 2) throw new DekdError('KEY_MISMATCH', 'not this one', { metadata: { key: 'a' } });
    return item * 10;
  });
  t.false(answer instanceof Promise);
  const { results } = answer as BatchResponse<number>;
  t.deepEqual(
    results.map(({ status: { code, message }, response }) => ({ code, message, response })),
    [
      { code: 0, message: '', response: 10 },
      { code: 3, message: 'not this one', response: undefined },
      { code: 0, message: '', response: 30 },
    ],
  );
  t.is(results[1]?.status.details.length, 1);
});

test('what waits waits side by side, at most 64 at once, and results stay in order', async (t) => {
  let waiting = 0;
  let most = 0;
  const { results } = await run(
    Array.from({ length: 200 }, (_, index) => index),
    async (item) => {
      waiting++;
      most = Math.max(most, waiting);
      for (let turn = 0; turn < (item % 5) + 1; turn++) await new Promise(setImmediate);
      waiting--;
      if (item === 7) throw new DekdError('KEY_MISMATCH', 'not this one');
      return item;
    },
  );
  t.is(most, 64);
  t.deepEqual(
    results.map(({ response }) => response),
    Array.from({ length: 200 }, (_, index) => (index === 7 ? undefined : index)),
  );
  t.is(results[7]?.status.code, 3);
});

test('a caller who left ends the batch; nothing more is begun', async (t) => {
  const control = new AbortController();
  let begun = 0;
  const answer = run(
    new Array(1_000).fill(0),
    async () => {
      begun++;
      await new Promise(setImmediate);
      control.abort();
    },
    makeCall(1000, control.signal),
  );
  await t.throwsAsync(async () => answer, { instanceOf: DekdError, message: /stopped waiting/ });
  t.is(begun, 64);
});

test('no item, and too many', (t) => {
  for (const count of [0, 1_001]) {
    const failure = t.throws(() => run(new Array(count).fill(0), () => 0), { instanceOf: DekdError });
    t.like(failure, { reason: 'INVALID_REQUEST', metadata: { field: 'items' } });
  }
  t.notThrows(() => run(new Array(1_000).fill(0), () => 0));
});

test('the answer has 4 MiB at most: an item without room is told so, smaller ones after it still fit', (t) => {
  const { results } = run([3_000_000, 2_000_000, 1_000_000, 300], (bytes, batch) => {
    batch.answers('orders', bytes);
    return bytes;
  }) as BatchResponse<number>;
  t.deepEqual(
    results.map(({ status, response }) => [status.code, response]),
    [
      [0, 3_000_000],
      [8, undefined],
      [0, 1_000_000],
      [0, 300],
    ],
  );
  t.regex(results[1]!.status.message, /send it in another batch/);
});

test('our own fault: the request’s id and nothing else', (t) => {
  const { results } = run([0], () => {
    throw new TypeError('secret');
  }) as BatchResponse<number>;
  t.like(results[0]!.status, { code: 13, message: 'internal error (request request-1)' });
});

test('no status is longer than what is kept free for it', (t) => {
  const status = loadProtos()['google.rpc.Status'] as unknown as { serialize(message: object): Buffer };
  const codec = (name: string) => loadProtos()[`google.rpc.${name}`] as unknown as typeof status;
  const name = 'k'.repeat(128);
  const longest = new DekdError(
    'UPSTREAM_UNAUTHENTICATED',
    `key ${name}: upstream ${name} does not accept the agent's credentials and no usable DEK is in memory`,
    { metadata: { key: name, upstream: name }, retryAfterMs: 5_000.5 },
  );
  const serialize = {
    errorInfo: (message: object) => codec('ErrorInfo').serialize(message),
    retryInfo: (message: object) => codec('RetryInfo').serialize(message),
  };
  t.true(status.serialize(itemStatus(longest, makeCall(), serialize)).length < RESULT_BYTES - 16);
  for (const character of ['x', 'é', '€', '😀']) {
    const long = character.repeat(100_000);
    const { results } = run([0], () => {
      throw new DekdError('UPSTREAM_UNAVAILABLE', long, { metadata: { key: long, upstream: long }, retryAfterMs: 1 });
    }) as BatchResponse<number>;
    t.true(status.serialize(results[0]!.status).length < RESULT_BYTES - 16, character);
  }
});

test.serial('what has not begun after the time of a miss is told to come again; what has begun ends', async (t) => {
  const { bootMs } = systemClock;
  t.teardown(() => {
    systemClock.bootMs = bootMs;
  });
  const { results } = await run(new Array(100).fill(0), async () => {
    await new Promise(setImmediate);
    systemClock.bootMs = () => bootMs() + 10_001;
    return 'done';
  });
  t.deepEqual(
    results.map(({ status, response }) => response ?? status.code),
    [...new Array(64).fill('done'), ...new Array(36).fill(14)],
  );
});
