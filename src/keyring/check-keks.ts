import { DekdError } from '../errors.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import type { KekDescription } from '../upstream/provider.ts';
import type { Counters } from './counters.ts';
import { fromUpstream, keyRefused } from './failures.ts';
import type { Kek } from './kek.ts';
import type { KeyOptions } from './options.ts';
import type { Miss, UpstreamQuota } from './quota.ts';
import type { Payer, Waiter } from './single-flight.ts';
import { isDead } from './standing.ts';

/** For a dry run: that the authorities' upstreams let what is there be decrypted. Throws KEY_DISABLED and the like, UPSTREAM_*, QUOTA_EXCEEDED. */
export async function checkKeks(
  options: KeyOptions,
  counters: Counters,
  quota: UpstreamQuota,
  waiter: Waiter,
): Promise<'active' | 'archived'> {
  const keks = options.recipients.filter(({ role }) => role === 'authority').map(({ kek }) => kek);
  const charge = quota.charge({ payer: waiter.principal, options, counters, keks });
  try {
    let worst: 'active' | 'archived' = 'active';
    for (const kek of keks) {
      charge.spend(kek);
      const { state } = await describe(kek, options.name, waiter);
      if (isDead(state)) throw keyRefused(options.name, state);
      if (state === 'archived') worst = state;
    }
    return worst;
  } finally {
    charge.end();
  }
}

/**
 * Has a key's KEKs described for an administrator, who pays for each that is asked, and leaves half of what may be paid for to misses. Throws
 * QUOTA_EXCEEDED.
 */
export async function payForDescriptions<T>(
  { options, counters }: Pick<Miss, 'options' | 'counters'>,
  quota: UpstreamQuota,
  payer: Payer,
  describe: () => Promise<T>,
): Promise<T> {
  const asked = options.recipients.filter(({ role }) => role !== 'recovery').map(({ kek }) => kek);
  const keks = [...asked, ...options.decryptWith];
  const charge = quota.charge({ payer, options, counters, keks, yieldsToMisses: true });
  try {
    for (const kek of keks) if (kek.broken === undefined) charge.spend(kek);
    return await describe();
  } finally {
    charge.end();
  }
}

async function describe(kek: Kek, keyName: string, { signal, principal }: Waiter): Promise<KekDescription> {
  try {
    return await kek.describe(signal, principal);
  } catch (thrown) {
    if (thrown instanceof DekdError) throw thrown;
    throw fromUpstream(keyName, kek.upstreamName, UpstreamFailure.from(thrown), kek.uri);
  }
}
