import type { Clock } from './clock.ts';
import { decide, graceMs, rotationOverdue } from './decide.ts';
import type { Dek } from './dek.ts';
import type { Refusal, Refusals } from './refusals.ts';

/** So many are counted as fast as a call is served: their counts are always of now. */
const FEW_DEKS = 100;
/** Of more, a count is kept this many times as long as it took: whoever asks without end has 1% of the thread. */
const KEPT_TIMES = 100;
const MIN_KEPT_MS = 1_000;

/** What one key's keyring held at a moment. Every instant but the first is one of CLOCK_BOOTTIME, undefined when no DEK has it. */
export interface DekCounts {
  /** Unix milliseconds when they were counted. */
  readonly asOfMs: number;
  readonly partitions: number;
  readonly encrypting: number;
  readonly decrypting: number;
  /** Those that serve only because the upstream gives no answer; an idle DEK past its ttl is none of them. */
  readonly inGrace: number;
  readonly rotationsOverdue: number;
  readonly refusalsPending: number;
  /** Of the encrypting DEK that is held longest, and of the DEK not vouched for longest. */
  readonly oldestLoadedAtMs: number | undefined;
  readonly oldestVerifiedAtMs: number | undefined;
  /** When the first of the DEKs in grace serves no longer; Infinity: never. */
  readonly graceEndsAtMs: number | undefined;
  /** If no upstream gave an answer any more: until when all DEKs, and the last of them, would serve; Infinity: without end. */
  readonly servesUntilMs: number | undefined;
  readonly lastServesUntilMs: number | undefined;
}

/** Counts a keyring's DEKs, of which there may be a hundred thousand, for callers of whom there may be many. */
export class DekCounter {
  readonly #held: () => Iterable<Dek>;
  readonly #clock: Clock;
  readonly #refusals: Pick<Refusals, 'covering'>;
  #kept: DekCounts | undefined;
  #keptUntilMs = 0;

  constructor(held: () => Iterable<Dek>, { clock, refusals }: { clock: Clock; refusals: Pick<Refusals, 'covering'> }) {
    this.#held = held;
    this.#clock = clock;
    this.#refusals = refusals;
  }

  /** `size`: how many DEKs are held now. */
  counts(size: number): DekCounts {
    const clock = this.#clock;
    const startMs = clock.bootMs();
    if (size > FEW_DEKS && this.#kept !== undefined && startMs < this.#keptUntilMs) return this.#kept;
    this.#kept = this.#count(startMs);
    const endMs = clock.bootMs();
    this.#keptUntilMs = endMs + Math.max(MIN_KEPT_MS, (endMs - startMs) * KEPT_TIMES);
    return this.#kept;
  }

  #count(nowMs: number): DekCounts {
    const partitions = new Set<string>();
    const counts = { encrypting: 0, decrypting: 0, inGrace: 0, rotationsOverdue: 0, refusalsPending: 0 };
    const loaded = new Extent();
    const verified = new Extent();
    const graceEnds = new Extent();
    const serves = new Extent();
    for (const dek of this.#held()) {
      const refusal = this.#refusals.covering(dek);
      partitions.add(dek.partitionKey);
      if (dek.place === 'encrypting') {
        counts.encrypting++;
        loaded.add(dek.loadedAtMs);
        if (rotationOverdue(dek, nowMs)) counts.rotationsOverdue++;
      } else counts.decrypting++;
      verified.add(dek.verifiedAtMs);
      const untilMs = servesUntilMs(dek, refusal);
      serves.add(untilMs);
      if (refusal !== undefined) counts.refusalsPending++;
      if (decide(dek, nowMs, refusal) === 'grace') {
        counts.inGrace++;
        graceEnds.add(untilMs);
      }
    }
    return {
      asOfMs: this.#clock.wallMs(),
      partitions: partitions.size,
      ...counts,
      oldestLoadedAtMs: loaded.first,
      oldestVerifiedAtMs: verified.first,
      graceEndsAtMs: graceEnds.first,
      servesUntilMs: serves.first,
      lastServesUntilMs: serves.last,
    };
  }
}

/** The end of what `decide` allows when nothing answers any more, in milliseconds of CLOCK_BOOTTIME. */
function servesUntilMs(dek: Dek, refusal: Refusal | undefined): number {
  const { ttlMs } = dek.options.cache;
  const fresh = dek.verifiedAtMs + ttlMs;
  const graceEnds = fresh + graceMs(dek);
  return refusal === undefined ? graceEnds : Math.max(fresh, Math.min(graceEnds, refusal.firstSeenAtMs + ttlMs));
}

/** The first and the last of some instants. */
class Extent {
  first: number | undefined;
  last: number | undefined;

  add(atMs: number): void {
    if (this.first === undefined || atMs < this.first) this.first = atMs;
    if (this.last === undefined || atMs > this.last) this.last = atMs;
  }
}
