import { openArena } from '../../src/crypto/native.ts';
import type { CacheOptions } from '../../src/keyring/options.ts';
import { ScriptedUpstream } from '../fakes/scripted-upstream.ts';
import { MovableClock, settled } from '../helpers/movable-clock.ts';
import { HOUR, type Sealed, World } from './world.ts';

const DAY_MS = 24 * HOUR;

export interface DaySetup {
  /** Half of them Encrypt, half Decrypt, spread evenly over the day. */
  readonly operations: number;
  readonly cache?: Partial<CacheOptions>;
  /** What a Decrypt opens: what was encrypted just now (0), or a random message of the last so many milliseconds. */
  readonly readBackMs?: number;
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
export async function simulateDay({ operations, cache, readBackMs = 0, seed = 1 }: DaySetup): Promise<Day> {
  openArena({ size: 1 << 20, lock: 'best-effort' });
  const clock = new DayClock(seed);
  const upstream = new ScriptedUpstream(clock);
  const world = new World(clock, upstream);
  const key = world.key({ ...(cache !== undefined && { cache }) });
  const pairs = operations / 2;
  const stepMs = DAY_MS / pairs;
  const shelf = new Array<Buffer>(Math.max(1, Math.round(readBackMs / stepMs)));
  let failures = 0;
  for (let pair = 0; pair < pairs; pair++) {
    await clock.reach(pair * stepMs);
    const sealed = key.encrypt();
    const { ciphertext }: Sealed = sealed instanceof Promise ? await world.value(sealed) : sealed;
    shelf[pair % shelf.length] = ciphertext;
    const kept = Math.min(pair + 1, shelf.length);
    const opened = key.decrypt(shelf[Math.floor(clock.random() * kept)]!);
    const { text } = opened instanceof Promise ? await world.value(opened) : opened;
    if (text !== 'hello') failures++;
  }
  await clock.reach(DAY_MS);
  const day = {
    wraps: upstream.count('wrap'),
    unwraps: upstream.count('unwrap'),
    calls: upstream.count(),
    failures,
    operations,
  };
  world.keyrings.close();
  await settled();
  await upstream.close();
  return day;
}

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
