import test, { type ExecutionContext } from 'ava';
import { warmStartupKeys } from '../../src/daemon/warm.ts';
import { DekdError } from '../../src/errors.ts';
import type { Keyrings } from '../../src/keyring/keyrings.ts';
import { settled } from '../helpers/movable-clock.ts';
import { recordingLogger } from './recording-logger.ts';

interface Key {
  readonly state?: string;
  readonly mode?: string;
  readonly partitionBy?: readonly string[];
}

/** Starts to warm; `failures` are thrown one after the other by the first warmings. */
function warm(t: ExecutionContext, keys: Readonly<Record<string, Key>>, ...failures: Error[]) {
  const warmed: string[] = [];
  let readies = 0;
  const keyrings = {
    names: () => Object.keys(keys),
    byName: (name: string) => {
      const { state = 'active', mode = 'startup', partitionBy = [] } = keys[name] ?? {};
      return {
        state,
        options: { cache: { mode }, partitionBy },
        warm: async () => {
          const failure = failures.shift();
          if (failure !== undefined) throw failure;
          warmed.push(name);
        },
      };
    },
  } as unknown as Keyrings;
  const { logger, lines } = recordingLogger();
  let whenReady = () => {};
  const ready = new Promise<void>((resolve) => {
    whenReady = resolve;
  });
  const stop = warmStartupKeys(keyrings, logger, () => {
    readies++;
    whenReady();
  });
  t.teardown(stop);
  return { warmed, lines, ready, stop, readies: () => readies };
}

test('`startup` keys without partitions are warmed, and then it is ready', async (t) => {
  const { warmed, ready } = warm(t, { a: {}, b: { mode: 'session' }, c: { partitionBy: ['tenant'] }, d: {} });
  await ready;
  t.deepEqual(warmed, ['a', 'd']);
});

test('a key that is disabled, archived or to be deleted keeps no other from being served', async (t) => {
  const states = { a: { state: 'disabled' }, b: { state: 'archived' }, c: { state: 'pending-deletion' }, d: {} };
  const { warmed, ready, lines } = warm(t, states);
  await ready;
  t.deepEqual(warmed, ['d']);
  t.deepEqual(lines, []);
});

test('what fails is tried again and told once', async (t) => {
  const down = () => new DekdError('UPSTREAM_UNAVAILABLE', 'no answer');
  const { ready, lines, readies } = warm(t, { a: {} }, down(), down());
  await settled();
  t.is(readies(), 0);
  await ready;
  t.like(lines, [{ level: 'warn', event: 'warm_failed', reason: 'UPSTREAM_UNAVAILABLE', text: 'no answer' }]);
  t.is(lines.length, 1);
});

test('after the stop it is neither tried again nor ready', async (t) => {
  const { stop, warmed, readies } = warm(t, { a: {} }, new DekdError('UPSTREAM_UNAVAILABLE', 'no answer'));
  await settled();
  stop();
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  t.deepEqual([warmed, readies()], [[], 0]);
});
