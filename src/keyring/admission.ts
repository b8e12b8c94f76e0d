import { LRUCache } from 'lru-cache';
import type { EncryptionContext } from '../crypto/context.ts';
import { unauthentic } from '../crypto/invalid-ciphertext.ts';
import type { DekdError } from '../errors.ts';
import type { Clock } from './clock.ts';
import type { Counters } from './counters.ts';
import { INVALID_MEMORY_MS, REFUSED_MEMORY_MS } from './options.ts';

/** Negative answers remembered per process: about 200 bytes each. */
const MAX_NEGATIVES = 10_000;

/** Answers *invalid* and *refused* again without asking the upstream; *unreachable* is never remembered. */
export class NegativeMemory {
  readonly #known = new LRUCache<string, { error: DekdError; untilMs: number }>({ max: MAX_NEGATIVES });
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  invalid(name: string, error: DekdError): void {
    this.#known.set(name, { error, untilMs: this.#clock.bootMs() + INVALID_MEMORY_MS });
  }

  refused(name: string, error: DekdError): void {
    this.#known.set(name, { error, untilMs: this.#clock.bootMs() + REFUSED_MEMORY_MS });
  }

  /** Somebody changed what the answers were about. */
  forget(): void {
    this.#known.clear();
  }

  /** Throws what was remembered of `name`. */
  check(name: string, counters: Counters): void {
    const known = this.#known.get(name);
    if (known === undefined) return;
    if (this.#clock.bootMs() > known.untilMs) {
      this.#known.delete(name);
      return;
    }
    counters.negative_hits++;
    throw known.error;
  }
}

/** Every pair of the block's partition must be in the request's context: the keys come from the block, not from today's configuration. */
export function checkPartition(partition: EncryptionContext, context: EncryptionContext): void {
  for (const [name, value] of partition) {
    if (context.get(name) !== value) throw unauthentic(new Error('the context does not have the block’s partition'));
  }
}
