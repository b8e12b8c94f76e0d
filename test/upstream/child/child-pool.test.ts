import { setTimeout } from 'node:timers/promises';
import test from 'ava';
import { ChildPool } from '../../../src/upstream/child/child-pool.ts';
import type { ChildEvents, ChildProcess } from '../../../src/upstream/child/child-process.ts';
import { UpstreamFailure } from '../../../src/upstream/failure.ts';
import { live } from '../../contract/upstream-context.ts';
import { fails } from '../../contract/upstream-contract.ts';
import { ANY_WRAPPED, isRunning, until, World } from './world.ts';

// Starts of processes take their time, more so when others run beside them: one test after the other.

test.serial('a child that has served a call has a successor beside it, one that has not has none', async (t) => {
  const world = await World.open(t);
  await setTimeout(200);
  t.is(world.upstream.pids.length, 1);
  await world.use();
  t.true(await until(() => world.upstream.pids.length === 2));
  await Promise.all([world.use(), world.use()]);
  await setTimeout(200);
  t.is(world.upstream.pids.length, 2);
});

test.serial('after max_calls the successor serves, and the old child is gone', async (t) => {
  const world = await World.open(t, { maxCalls: 5 });
  for (let round = 0; round < 3; round++) {
    const [pid] = world.upstream.pids;
    await world.use();
    t.true(await until(() => world.upstream.pids.length === 2));
    const [, successor] = world.upstream.pids;
    await setTimeout(300);
    for (let count = 1; count < 5; count++) await world.use();
    t.true(await until(() => world.upstream.pids[0] === successor));
    t.false(isRunning(pid!));
  }
  t.deepEqual(world.warnings, []);
});

test.serial('running calls end before their child does', async (t) => {
  const world = await World.open(t, { maxCalls: 2, warmChild: false });
  const [pid] = world.upstream.pids;
  const slow = world.wrap(world.dek(), 'slow');
  await world.use();
  await world.use();
  t.not(world.upstream.pids.at(-1), pid);
  await t.notThrowsAsync(slow);
  t.true(await until(() => !isRunning(pid!)));
  t.deepEqual(world.warnings, []);
});

test.serial('a call that does not end keeps its child no longer than three seconds', async (t) => {
  const world = await World.open(t, { maxCalls: 1, warmChild: false });
  const [pid] = world.upstream.pids;
  const begun = performance.now();
  await fails(t, world.unwrap(ANY_WRAPPED, 'never'), 'unreachable');
  const tookMs = performance.now() - begun;
  t.true(tookMs >= 2_900 && tookMs < 5_000, `${tookMs} ms`);
  t.true(await until(() => !isRunning(pid!)));
});

test.serial('more calls than max_calls at once: each is served, by a few children', async (t) => {
  const world = await World.open(t, { maxCalls: 3 });
  const dek = world.dek();
  await t.notThrowsAsync(Promise.all(Array.from({ length: 20 }, () => world.wrap(dek))));
});

test.serial(
  'a child that nobody calls is gone within idle and five seconds, and no miss waits for the next one',
  async (t) => {
    const world = await World.open(t, { idleMs: 1_000 });
    const [pid] = world.upstream.pids;
    await world.use();
    const usedAt = performance.now();
    t.true(await until(() => world.upstream.pids.length === 2));
    const [, successor] = world.upstream.pids;
    t.true(await until(() => !isRunning(pid!), 6_000));
    const goneAfterMs = performance.now() - usedAt;
    t.true(goneAfterMs >= 990 && goneAfterMs < 6_000, `${goneAfterMs} ms`);
    t.true(await until(() => world.upstream.pids.length === 1));
    t.is(world.upstream.pids[0], successor);
    const begun = performance.now();
    await world.use();
    t.true(performance.now() - begun < 100, 'the successor was ready');
  },
);

test.serial('each call begins the idle time again', async (t) => {
  const world = await World.open(t, { idleMs: 1_000 });
  const [pid] = world.upstream.pids;
  for (let count = 0; count < 5; count++) {
    await world.use();
    await setTimeout(300);
  }
  t.true(isRunning(pid!));
});

test.serial('a call that was refused before it was made does not keep a child from ending', async (t) => {
  const world = await World.open(t, { idleMs: 1_000, warmChild: false });
  await world.use();
  const tooLarge = { ...ANY_WRAPPED, bytes: Buffer.alloc(100_000) };
  await fails(t, world.unwrap(tooLarge), 'invalid');
  t.true(await until(() => world.upstream.pids.length === 0, 6_000));
});

test.serial('warm_child: false has at most one child, and none when nobody calls', async (t) => {
  const world = await World.open(t, { idleMs: 1_000, warmChild: false });
  await world.use();
  await setTimeout(200);
  t.is(world.upstream.pids.length, 1);
  t.true(await until(() => world.upstream.pids.length === 0, 6_000));
  await world.use();
  t.is(world.upstream.pids.length, 1);
});

test.serial('a child that dies is followed by its successor at once, and that gets a new one', async (t) => {
  const world = await World.open(t);
  await world.use();
  t.true(await until(() => world.upstream.pids.length === 2));
  await setTimeout(300);
  const [first, successor] = world.upstream.pids;
  process.kill(first!, 'SIGKILL');
  t.true(await until(() => world.warnings.some((warning) => /ended: SIGKILL/.test(warning))));
  await world.use();
  t.is(world.upstream.pids[0], successor);
  t.true(await until(() => world.upstream.pids.length === 2));
});

test.serial('a successor that dies is replaced', async (t) => {
  const world = await World.open(t);
  await world.use();
  t.true(await until(() => world.upstream.pids.length === 2));
  const [current, successor] = world.upstream.pids;
  process.kill(successor!, 'SIGKILL');
  t.true(await until(() => world.upstream.pids.length === 2 && !world.upstream.pids.includes(successor!)));
  t.is(world.upstream.pids[0], current);
});

test.serial(
  'after a failure without a successor calls fail at once, with the time of the pause, until it is over',
  async (t) => {
    const world = await World.open(t, { warmChild: false });
    const pauses: number[] = [];
    for (let count = 0; count < 4; count++) {
      await world.unwrap(ANY_WRAPPED, 'exit').catch(() => undefined);
      const begun = performance.now();
      const failure = await world.use().catch((error: unknown) => error as UpstreamFailure);
      if (failure instanceof UpstreamFailure) {
        t.true(performance.now() - begun < 50);
        t.is(failure.class, 'unreachable');
        pauses.push(failure.retryAfterMs!);
        await setTimeout(failure.retryAfterMs! + 5);
      }
    }
    // Full jitter: any of them may be short, not all, and none longer than its share.
    t.true(pauses.length > 0 && pauses.every((pause, at) => pause > 0 && pause <= 100 * 2 ** (at + 4)), String(pauses));
  },
);

test.serial('a child that has served for half a minute makes up for the failures before it', async (t) => {
  const child = new LongLivedChild();
  let events: ChildEvents | undefined;
  const pool = new ChildPool({
    start: (given) => {
      events = given;
      return child as unknown as ChildProcess;
    },
    maxCalls: 1_000,
    idleMs: 60_000,
    isWarm: false,
    onWarning: () => undefined,
  });
  const { random } = Math;
  t.teardown(() => {
    Math.random = random;
    return pool.close();
  });
  await pool.open();
  Math.random = () => 0;
  for (let count = 0; count < 9; count++) events!.onFailure(child as unknown as ChildProcess);
  await setTimeout(5);
  await pool.call({ op: 'describe', kek: 'one', fresh: false }, live(), () => undefined);
  child.livedMs = 40_000;
  events!.onAnswer(child as unknown as ChildProcess);
  child.livedMs = 10;
  Math.random = () => 0.999;
  events!.onFailure(child as unknown as ChildProcess);
  const failure = await t.throwsAsync<UpstreamFailure>(
    pool.call({ op: 'describe', kek: 'one', fresh: false }, live(), () => undefined),
  );
  t.true(failure.retryAfterMs! <= 100, String(failure.retryAfterMs));
});

/** What the pool sees of a process, without one: its age is what is asked about. */
class LongLivedChild {
  livedMs = 10;
  readonly calls = 1;
  readonly isIdle = true;
  readonly isReady = true;
  readonly opened = Promise.resolve([]);
  readonly exited = Promise.resolve();
  call = () => Promise.resolve();
  close = () => undefined;
}

test.serial('close ends every child, and a second one waits for the first', async (t) => {
  const world = await World.open(t);
  await world.use();
  t.true(await until(() => world.upstream.pids.length === 2));
  const { pids } = world.upstream;
  await Promise.all([world.upstream.close(), world.upstream.close()]);
  t.false(pids.some(isRunning));
  t.deepEqual(world.warnings, []);
});

test.serial('a call whose child starts meanwhile ends when the upstream closes', async (t) => {
  const world = await World.open(t, { maxCalls: 1, warmChild: false });
  await world.use();
  const call = world.use();
  await setTimeout(1);
  await world.upstream.close();
  const error = await t.throwsAsync(call, { instanceOf: UpstreamFailure });
  t.is((error as UpstreamFailure).class, 'unreachable');
});
