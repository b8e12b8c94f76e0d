import { openArena } from '../../src/crypto/native.ts';
import { CallDeks } from '../../src/keyring/call-deks.ts';
import type { CacheOptions } from '../../src/keyring/options.ts';
import { ScriptedUpstream } from '../fakes/scripted-upstream.ts';
import { MovableClock, settled } from '../helpers/movable-clock.ts';
import { HOUR, type TestKey, World } from './world.ts';

const DAY_MS = 24 * HOUR;

export interface DaySetup {
  /** Half of them Encrypt, half Decrypt, spread evenly over the day. */
  readonly operations: number;
  readonly cache?: Partial<CacheOptions>;
  /** What a Decrypt opens: what was encrypted just now (0), or a random message of the last so many milliseconds. */
  readonly readBackMs?: number;
  /** Messages that one EncryptBatch or DecryptBatch has; default 1. */
  readonly batch?: number;
  /** Of the jitter; the same seed gives the same day. */
  readonly seed?: number;
}

export interface Day {
  /** As the upstream counted them. */
  readonly wraps: number;
  readonly unwraps: number;
  readonly calls: number;
  /** Operations that failed or gave another text. */
  readonly failures: number;
  readonly operations: number;
}

/** A day of one key, on a clock that is moved, with real cryptography and an upstream that counts what it is asked. Everything else is dekd's own. */
export async function simulateDay(setup: DaySetup): Promise<Day> {
  openArena({ size: 1 << 20, lock: 'best-effort' });
  const clock = new DayClock(setup.seed ?? 1);
  const upstream = new ScriptedUpstream(clock);
  const world = new World(clock, upstream);
  const key = world.key({ ...(setup.cache !== undefined && { cache: setup.cache }) });
  const failures = await useAllDay(world, key, clock, setup);
  const calls = { wraps: upstream.count('wrap'), unwraps: upstream.count('unwrap'), calls: upstream.count() };
  world.keyrings.close();
  await settled();
  await upstream.close();
  return { ...calls, failures, operations: setup.operations };
}

async function useAllDay(world: World, key: TestKey, clock: DayClock, setup: DaySetup): Promise<number> {
  const { operations, readBackMs = 0, batch = 1 } = setup;
  const rounds = operations / 2 / batch;
  const stepMs = DAY_MS / rounds;
  const shelf = new Array<Buffer>(Math.max(1, Math.round(readBackMs / stepMs)));
  let failures = 0;
  for (let round = 0; round < rounds; round++) {
    await clock.reach(round * stepMs);
    for (const { ciphertext } of await together(world, batch, (call) => key.encrypt({}, 'hello', NEVER, call))) {
      shelf[round % shelf.length] = ciphertext;
    }
    const ciphertext = shelf[Math.floor(clock.random() * Math.min(round + 1, shelf.length))]!;
    for (const { text } of await together(world, batch, (call) => key.decrypt(ciphertext, {}, NEVER, call))) {
      if (text !== 'hello') failures++;
    }
  }
  await clock.reach(DAY_MS);
  return failures;
}

/** What one call does `count` times. */
async function together<T>(world: World, count: number, work: (call: CallDeks) => T | Promise<T>): Promise<T[]> {
  const call = new CallDeks();
  const results: T[] = [];
  for (let item = 0; item < count; item++) {
    const result = work(call);
    results.push(result instanceof Promise ? await world.value(result) : result);
  }
  call.release();
  return results;
}

const NEVER = new AbortController().signal;

/** Goes on by fractions of a millisecond, stops for timers only where some are due, and has jitter. */
class DayClock extends MovableClock {
  #state: number;
  #startedAtMs: number;

  constructor(seed: number) {
    super();
    this.#state = seed;
    this.#startedAtMs = this.bootMs();
  }

  /** Numerical Recipes' linear congruential generator: jitter, no secret. */
  override random(): number {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0;
    return this.#state / 2 ** 32;
  }

  async reach(ms: number): Promise<void> {
    const wholeMs = Math.floor(ms) - (this.bootMs() - this.#startedAtMs);
    if (wholeMs > 0) await this.advance(wholeMs);
  }
}
