import { DekdError, invalidField } from '../errors.ts';
import { CallDeks } from '../keyring/call-deks.ts';
import { systemClock } from '../keyring/clock.ts';
import { MISS_MS } from '../keyring/options.ts';
import type { Call } from './call.ts';
import { shortText } from './short-text.ts';
import type { ItemStatus } from './status.ts';

/** What a stock client accepts as one message. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
/** What one result takes at least of that, so that every item's error has room. A status that is longer is cut. */
export const RESULT_BYTES = 1_024;
const MAX_STATUS_BYTES = 400;
/** A result's bytes beside its payload and the key's name: tags, lengths, flags, the status. */
const OVERHEAD_BYTES = 48;
const MAX_ITEMS = 1_000;
/** For the transport, which looks before it builds the items. */
export const MAXIMA = {
  'dekd.v1.EncryptBatchRequest.items': MAX_ITEMS,
  'dekd.v1.DecryptBatchRequest.items': MAX_ITEMS,
};
/** As many as a connection has streams: a batch asks an upstream for no more at once than single calls could. */
const MAX_WAITING = 64;

/** What an item's call needs of its batch. */
export interface BatchItem {
  /** For keys in cache mode `request`. */
  readonly deks: CallDeks;
  /** Called before the work with what its answer will have; throws MESSAGE_TOO_LARGE when that would make the batch's too long. */
  answers(key: string, payloadBytes: number): void;
}

interface Result<R> {
  readonly status: ItemStatus;
  readonly response: R | undefined;
}

export interface BatchResponse<R> {
  readonly results: readonly Result<R>[];
}

const OK: ItemStatus = { code: 0, message: '', details: [] };

/**
 * One call's work for each of its items; an item that fails has a status and hurts no other. Synchronous when every item is; else what must wait
 * waits side by side. What asks an upstream begins within the time of one miss, so that a batch has an end.
 */
export function runBatch<Q, R>(
  items: readonly Q[],
  call: Call,
  toStatus: (thrown: unknown, call: Call) => ItemStatus,
  work: (item: Q, batch: BatchItem) => R | Promise<R>,
): BatchResponse<R> | Promise<BatchResponse<R>> {
  if (items.length === 0) throw invalidField('items', 'is empty; 1 to 1,000 items are allowed');
  if (items.length > MAX_ITEMS) throw invalidField('items', `has ${items.length} items, at most 1,000 are allowed`);
  return new Batch(items, call, toStatus, work).run();
}

class Batch<Q, R> implements BatchItem {
  readonly deks = new CallDeks();
  readonly #items: readonly Q[];
  readonly #call: Call;
  readonly #toStatus: (thrown: unknown, call: Call) => ItemStatus;
  readonly #work: (item: Q, batch: BatchItem) => R | Promise<R>;
  readonly #results: Result<R>[];
  readonly #waiting = new Set<Promise<void>>();
  readonly #startedAtMs = systemClock.bootMs();
  #roomBytes: number;
  #next = 0;

  constructor(
    items: readonly Q[],
    call: Call,
    toStatus: (thrown: unknown, call: Call) => ItemStatus,
    work: (item: Q, batch: BatchItem) => R | Promise<R>,
  ) {
    this.#items = items;
    this.#call = call;
    this.#toStatus = toStatus;
    this.#work = work;
    this.#results = new Array(items.length);
    this.#roomBytes = MAX_ANSWER_BYTES - items.length * RESULT_BYTES;
  }

  run(): BatchResponse<R> | Promise<BatchResponse<R>> {
    this.#startMore();
    return this.#waiting.size === 0 ? { results: this.#results } : this.#finish();
  }

  answers(key: string, payloadBytes: number): void {
    const moreBytes = Math.max(0, payloadBytes + key.length + OVERHEAD_BYTES - RESULT_BYTES);
    if (moreBytes > this.#roomBytes) {
      throw new DekdError(
        'MESSAGE_TOO_LARGE',
        `the batch's answer has ${MAX_ANSWER_BYTES} bytes at most and no room for this item; send it in another batch`,
        { metadata: { field: 'items' } },
      );
    }
    this.#roomBytes -= moreBytes;
  }

  async #finish(): Promise<BatchResponse<R>> {
    try {
      while (this.#waiting.size > 0) {
        await Promise.race(this.#waiting);
        if (this.#call.signal.aborted) throw new DekdError('CANCELLED', 'the caller stopped waiting');
        this.#startMore();
      }
    } finally {
      this.deks.release();
    }
    return { results: this.#results };
  }

  #startMore(): void {
    while (this.#next < this.#items.length && this.#waiting.size < MAX_WAITING) this.#start(this.#next++);
  }

  #start(index: number): void {
    try {
      if (this.#next > MAX_WAITING) this.#checkTime();
      const response = this.#work(this.#items[index]!, this);
      if (response instanceof Promise) this.#wait(index, response);
      else this.#results[index] = { status: OK, response };
    } catch (thrown) {
      this.#fail(index, thrown);
    }
  }

  #wait(index: number, response: Promise<R>): void {
    const waiting = response
      .then(
        (value) => {
          this.#results[index] = { status: OK, response: value };
        },
        (thrown: unknown) => this.#fail(index, thrown),
      )
      .finally(() => this.#waiting.delete(waiting));
    this.#waiting.add(waiting);
  }

  #fail(index: number, thrown: unknown): void {
    const status = this.#toStatus(thrown, this.#call);
    const message = shortText(status.message, MAX_STATUS_BYTES);
    this.#results[index] = { status: { ...status, message }, response: undefined };
  }

  #checkTime(): void {
    if (systemClock.bootMs() - this.#startedAtMs <= MISS_MS) return;
    throw new DekdError('UPSTREAM_UNAVAILABLE', 'the batch took its 10 s before this item; send it again', {
      retryAfterMs: 1_000,
    });
  }
}
