import { type BucketSize, TokenBucket } from './token-bucket.ts';

/** Principals whose bucket is not full are remembered, so many at most: some hundred bytes each. */
const MAX_PRINCIPALS = 10_000;

/** One bucket for each principal, as long as it is not full; those for whom there is no room share one. */
export class PrincipalBuckets {
  readonly #size: BucketSize;
  readonly #maxPrincipals: number;
  readonly #buckets = new Map<number, TokenBucket>();
  readonly #crowd: TokenBucket;

  constructor(size: BucketSize, nowMs: number, maxPrincipals = MAX_PRINCIPALS) {
    this.#size = size;
    this.#maxPrincipals = maxPrincipals;
    this.#crowd = new TokenBucket(size, nowMs);
  }

  /** How many are remembered. */
  get remembered(): number {
    return this.#buckets.size;
  }

  of(uid: number, nowMs: number): TokenBucket {
    const known = this.#buckets.get(uid);
    if (known !== undefined) return known;
    if (this.#buckets.size >= this.#maxPrincipals) this.#forgetFull(nowMs);
    if (this.#buckets.size >= this.#maxPrincipals) return this.#crowd;
    const bucket = new TokenBucket(this.#size, nowMs);
    this.#buckets.set(uid, bucket);
    return bucket;
  }

  #forgetFull(nowMs: number): void {
    for (const [uid, bucket] of this.#buckets) if (bucket.isFull(nowMs)) this.#buckets.delete(uid);
  }
}
