import type { EncryptionContext } from '../crypto/context.ts';
import { DekdError } from '../errors.ts';
import { partitionKey } from './partition.ts';

/** More flushes in a row than this while one DEK is under way are no coincidence. */
const MAX_ROUNDS = 4;
const RETRY_MS = 1_000;

/** Work whose result must not be used when a flush came in between. */
interface Work {
  readonly partition: string;
  flushed: boolean;
}

/**
 * DEKs of one key that are being made or unwrapped, so that a flush reaches what began before it: such a DEK is zeroed when it comes, and the work is
 * done again for those who wait, so that what they get was vouched for after the flush.
 */
export class Underway {
  readonly #works = new Set<Work>();

  /** Runs `work` until no flush came in between; `discard` takes what is not to be used. UPSTREAM_UNAVAILABLE when one always did. */
  async run<T>(partition: string, work: () => Promise<T>, discard: (result: T) => void): Promise<T> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const mine: Work = { partition, flushed: false };
      this.#works.add(mine);
      try {
        const result = await work();
        if (!mine.flushed) return result;
        discard(result);
      } catch (thrown) {
        // An answer from before the flush; what is true now the next round tells.
        if (!mine.flushed) throw thrown;
      } finally {
        this.#works.delete(mine);
      }
    }
    throw new DekdError('UPSTREAM_UNAVAILABLE', 'the keyring is being flushed again and again; try again later', {
      retryAfterMs: RETRY_MS,
    });
  }

  /** What is under way now, of one partition or of all, is not to be used. */
  flush(partition: EncryptionContext | undefined): void {
    const name = partition === undefined ? undefined : partitionKey(partition);
    for (const work of this.#works) if (name === undefined || work.partition === name) work.flushed = true;
  }
}
