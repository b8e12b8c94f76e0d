import { DekdError } from '../errors.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import type { Clock } from './clock.ts';
import type { Counters } from './counters.ts';
import { fromUpstream } from './failures.ts';
import type { Kek } from './kek.ts';
import type { CacheOptions, KeyOptions } from './options.ts';
import { PrincipalBuckets } from './principal-buckets.ts';
import type { Payer } from './single-flight.ts';
import { type BucketSize, TokenBucket } from './token-bucket.ts';

/** Upstream calls that callers may cause: in the configuration, `limits.upstream_calls`. */
export interface QuotaLimits {
  readonly perPrincipal: BucketSize;
  readonly perKey: BucketSize;
}

/** The upstream calls of one miss, which are paid in advance. */
export interface Charge {
  /** Who caused it; undefined = no caller did. */
  readonly payer: Payer | undefined;
  /** One of them is made. */
  spend(kek: Kek): void;
  /** No more are made: those that were not come back, and all of them while none of the KEKs answers. */
  end(): void;
}

/** For what no caller's miss causes. */
export const FREE: Charge = { payer: undefined, spend: () => undefined, end: () => undefined };

/** Of what a caller and a key may cause, what is no miss leaves this share to misses. */
const LEFT_TO_MISSES = 1 / 2;

/** Who asks for what: a miss of `payer` with a key, which may call each of `keks` once for each time that it is named. */
export interface Miss {
  readonly payer: Payer;
  readonly options: KeyOptions;
  readonly counters: Counters;
  readonly keks: readonly Kek[];
  /** It is none, but a description that an administrator asks for. Default false. */
  readonly yieldsToMisses?: boolean;
}

/** A ciphertext, or a new partition, is a request to spend money: what callers' misses may cost, by caller and by key. `local` upstreams cost nothing. */
export class UpstreamQuota {
  readonly #limits: QuotaLimits;
  readonly #clock: Clock;
  readonly #principals: PrincipalBuckets;
  readonly #keys = new Map<string, TokenBucket>();

  constructor(limits: QuotaLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
    this.#principals = new PrincipalBuckets(limits.perPrincipal, clock.bootMs());
  }

  /** Throws QUOTA_EXCEEDED when payer or key may not cause so many calls now; in an outage, what the upstream's failure is called. */
  charge(miss: Miss): Charge {
    const paid = miss.keks.filter(({ upstream }) => upstream.type !== 'local');
    if (paid.length === 0) return { ...FREE, payer: miss.payer };
    const nowMs = this.#clock.bootMs();
    const principal = this.#principals.of(miss.payer.uid, nowMs);
    const key = this.#bucketOf(miss.options.name, nowMs);
    const left = miss.yieldsToMisses === true ? LEFT_TO_MISSES : 0;
    const principalWaitMs = principal.waitMs(paid.length + left * this.#limits.perPrincipal.burst, nowMs);
    const keyWaitMs = key.waitMs(paid.length + left * this.#limits.perKey.burst, nowMs);
    if (principalWaitMs > 0 || keyWaitMs > 0) {
      // No call would be answered: that is what the caller should hear.
      if (paid.every((kek) => kek.failedRecently(nowMs))) throw unanswered(miss.options.name, paid);
      miss.counters.quota_refused++;
      throw this.#exceeded(miss, principalWaitMs, keyWaitMs);
    }
    const buckets = [principal, key];
    for (const bucket of buckets) bucket.take(paid.length, nowMs);
    return new TakenCharge(miss.payer, paid, buckets, this.#clock);
  }

  #bucketOf(keyName: string, nowMs: number): TokenBucket {
    const bucket = this.#keys.get(keyName) ?? new TokenBucket(this.#limits.perKey, nowMs);
    this.#keys.set(keyName, bucket);
    return bucket;
  }

  #exceeded({ payer, options, yieldsToMisses }: Miss, principalWaitMs: number, keyWaitMs: number): DekdError {
    const { name, cache } = options;
    const byPrincipal = principalWaitMs >= keyWaitMs;
    const setting = `limits.upstream_calls.${byPrincipal ? 'per_principal' : 'per_key'}`;
    const { perSecond, burst } = byPrincipal ? this.#limits.perPrincipal : this.#limits.perKey;
    const who = byPrincipal ? `uid ${payer.uid}` : 'its callers together';
    const text = `key ${name}: ${who} may cause ${perSecond} upstream calls a second, ${burst} at once, and did; ${why(cache.mode, yieldsToMisses)}try again later, or raise ${setting}`;
    return new DekdError('QUOTA_EXCEEDED', text, {
      metadata: { key: name, setting },
      retryAfterMs: Math.ceil(Math.max(principalWaitMs, keyWaitMs)),
    });
  }
}

/** What a reader of the error would not guess. */
function why(mode: CacheOptions['mode'], yieldsToMisses = false): string {
  if (yieldsToMisses) return 'descriptions leave half of that to calls for DEKs: ';
  if (mode === 'none') return 'cache mode none makes calls for each operation: ';
  return mode === 'request' ? 'cache mode request makes calls for each request: ' : '';
}

class TakenCharge implements Charge {
  readonly payer: Payer;
  readonly #paid: readonly Kek[];
  readonly #buckets: readonly TokenBucket[];
  readonly #clock: Clock;
  #unspent: number;

  constructor(payer: Payer, paid: readonly Kek[], buckets: readonly TokenBucket[], clock: Clock) {
    this.payer = payer;
    this.#paid = paid;
    this.#buckets = buckets;
    this.#clock = clock;
    this.#unspent = paid.length;
  }

  spend(kek: Kek): void {
    if (this.#unspent > 0 && this.#paid.includes(kek)) this.#unspent--;
  }

  end(): void {
    const nowMs = this.#clock.bootMs();
    // Or callers who try again and again in an outage would have nothing left when it is over.
    const back = this.#paid.every((kek) => noAnswer(kek, nowMs)) ? this.#paid.length : this.#unspent;
    for (const bucket of this.#buckets) bucket.take(-back, nowMs);
  }
}

/** Such calls cost nothing, and breakers bound them; one that is refused for its credentials is answered. */
function noAnswer(kek: Kek, nowMs: number): boolean {
  return kek.failedRecently(nowMs) && kek.health.state !== 'unauthenticated';
}

function unanswered(keyName: string, [kek]: readonly Kek[]): DekdError {
  const failure = new UpstreamFailure(kek!.outageClass, 'it gave no answer lately, and the quota is used up');
  return fromUpstream(keyName, kek!.upstreamName, failure);
}
