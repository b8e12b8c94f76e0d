import type { Clock } from './clock.ts';
import type { Dek } from './dek.ts';

/** So many are counted as fast as a call is served: their counts are always of now. */
const FEW_DEKS = 100;
/** Of more, a count is kept this many times as long as it took: whoever asks without end has 1% of the thread. */
const KEPT_TIMES = 100;
const MIN_KEPT_MS = 1_000;

/** What one key's keyring held at a moment. */
export interface DekCounts {
  /** Unix milliseconds when they were counted. */
  readonly asOfMs: number;
  readonly partitions: number;
  readonly encrypting: number;
  readonly decrypting: number;
  /** CLOCK_BOOTTIME of the encrypting DEK that is held longest, and of the DEK not vouched for longest; undefined when there is none. */
  readonly oldestLoadedAtMs: number | undefined;
  readonly oldestVerifiedAtMs: number | undefined;
}

/** Counts a keyring's DEKs, of which there may be a hundred thousand, for callers of whom there may be many. */
export class DekCounter {
  readonly #held: () => Iterable<Dek>;
  readonly #clock: Clock;
  #kept: DekCounts | undefined;
  #keptUntilMs = 0;

  constructor(held: () => Iterable<Dek>, clock: Clock) {
    this.#held = held;
    this.#clock = clock;
  }

  /** `size`: how many DEKs are held now. */
  counts(size: number): DekCounts {
    const clock = this.#clock;
    const startMs = clock.bootMs();
    if (size > FEW_DEKS && this.#kept !== undefined && startMs < this.#keptUntilMs) return this.#kept;
    this.#kept = this.#count();
    const endMs = clock.bootMs();
    this.#keptUntilMs = endMs + Math.max(MIN_KEPT_MS, (endMs - startMs) * KEPT_TIMES);
    return this.#kept;
  }

  #count(): DekCounts {
    const partitions = new Set<string>();
    let encrypting = 0;
    let decrypting = 0;
    let loadedAtMs = Number.POSITIVE_INFINITY;
    let verifiedAtMs = Number.POSITIVE_INFINITY;
    for (const dek of this.#held()) {
      partitions.add(dek.partitionKey);
      if (dek.place === 'encrypting') {
        encrypting++;
        loadedAtMs = Math.min(loadedAtMs, dek.loadedAtMs);
      } else decrypting++;
      verifiedAtMs = Math.min(verifiedAtMs, dek.verifiedAtMs);
    }
    return {
      asOfMs: this.#clock.wallMs(),
      partitions: partitions.size,
      encrypting,
      decrypting,
      oldestLoadedAtMs: encrypting === 0 ? undefined : loadedAtMs,
      oldestVerifiedAtMs: encrypting + decrypting === 0 ? undefined : verifiedAtMs,
    };
  }
}
