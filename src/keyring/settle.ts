import type { DekdError } from '../errors.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import { decide, graceMs } from './decide.ts';
import type { Dek, RefreshProblem } from './dek.ts';
import { fromUpstream } from './failures.ts';
import { CONFIRM_WAIT_MS, GRACE_WAIT_MS, type KeyOptions } from './options.ts';
import type { Refusal } from './refusals.ts';
import type { Shared } from './shared.ts';
import { type Waiter, waitFor } from './single-flight.ts';
import { settlesWithin } from './timing.ts';

/** What may change while a request waits: an attempt's outcome, then a refusal's. */
const MAX_ROUNDS = 4;

/**
 * Waits until a held DEK may serve; undefined when it was zeroed meanwhile, or is in no `place` any more where the caller wants it, which the caller checks
 * again after its own await. Throws UPSTREAM_* when it may not serve.
 */
export async function settle(
  dek: Dek,
  shared: Shared,
  waiter: Waiter,
  place: 'encrypting' | 'any' = 'any',
): Promise<'serve' | 'grace' | undefined> {
  let problem: DekdError | undefined;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    if (!isAt(dek, place)) return undefined;
    const refusal = shared.refusals.covering(dek);
    const verdict = decide(dek, shared.clock.bootMs(), refusal);
    if (verdict === 'serve' || verdict === 'grace') return verdict;
    if (verdict === 'unavailable' || problem !== undefined) break;
    const waited = await (refusal === undefined
      ? refreshed(dek, shared, waiter)
      : decided(dek, refusal, shared, waiter));
    if (waited === 'grace') return waited;
    problem = waited;
  }
  throw problem ?? unavailable(dek.options, dek);
}

function isAt(dek: Dek, place: 'encrypting' | 'any'): boolean {
  return place === 'any' ? dek.place !== 'gone' : dek.place === place;
}

/** What a caller hears when a DEK may not serve and nothing better is known. */
export function unavailable(options: KeyOptions, dek: Dek | undefined): DekdError {
  const kek = dek?.recipients.find((one) => one.kek.outage)?.kek ?? options.recipients[0]?.kek;
  const failure = new UpstreamFailure(kek?.outageClass ?? 'unreachable', 'grace is over');
  return fromUpstream(options.name, kek?.upstreamName ?? 'none', failure);
}

/** Nothing is served while its refusal is being confirmed; an error when that takes too long. */
async function decided(dek: Dek, refusal: Refusal, { clock }: Shared, waiter: Waiter): Promise<DekdError | undefined> {
  const inTime = await waitFor(settlesWithin(clock, refusal.decided, CONFIRM_WAIT_MS), waiter);
  return inTime ? undefined : unavailable(dek.options, dek);
}

/**
 * Waits for an attempt. `grace` when it gets no answer or takes too long and the DEK may serve meanwhile; an error when it may not serve.
 * That our own memory is full is no outage: whoever fills it must not keep a revoked DEK in use.
 */
async function refreshed(dek: Dek, shared: Shared, waiter: Waiter): Promise<'grace' | DekdError | undefined> {
  const { clock, refusals, refresher } = shared;
  const attempt = refresher.refresh(dek, 'refresh');
  let problem: RefreshProblem | undefined = 'unanswered';
  if (!inGrace(dek, shared) || (await waitFor(settlesWithin(clock, attempt, GRACE_WAIT_MS), waiter))) {
    problem = await waitFor(attempt, waiter);
  }
  if (problem === undefined || dek.place === 'gone' || refusals.covering(dek) !== undefined) return undefined;
  if (problem !== 'unanswered') return problem;
  return inGrace(dek, shared) ? 'grace' : unavailable(dek.options, dek);
}

function inGrace(dek: Dek, { clock }: Shared): boolean {
  return clock.bootMs() - dek.verifiedAtMs <= dek.options.cache.ttlMs + graceMs(dek);
}
