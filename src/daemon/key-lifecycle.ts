import type { ChangedKek, DeletionFacts } from '../api/administration.ts';
import type { EncryptionContext } from '../crypto/context.ts';
import { DekdError, invalidField } from '../errors.ts';
import type { Kek } from '../keyring/kek.ts';
import type { Keyring } from '../keyring/keyring.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import { hasLifecycle, type KekChange, type KekDescription, type KekLifecycle } from '../upstream/provider.ts';
import type { KekFollower } from './kek-follower.ts';

/** A KEK of an upstream where dekd may change it. */
interface LocalKek {
  readonly kek: Kek;
  readonly upstream: KekLifecycle;
}

/**
 * Changes of a key, which are changes of its KEKs: first the upstream has it on disk, then the keyrings act on it, then the caller hears of it.
 * A key may have several KEKs, and its state is the worst of its authorities'. So what restricts begins with the authorities, what permits ends
 * with them: when it fails in the middle, the key refuses rather than serves, and asking for the same again completes it.
 */
export class KeyLifecycle {
  readonly #follower: KekFollower;

  constructor(follower: KekFollower) {
    this.#follower = follower;
  }

  /** Authorities first. Throws INVALID_REQUEST when the key has none that could be changed here. */
  changeable(keyring: Keyring): readonly LocalKek[] {
    const found = localKeks(keyring);
    if (found.length > 0) return found;
    const { name, recipients } = keyring.options;
    const upstreams = [...new Set(recipients.map(({ kek }) => `${kek.upstreamName} (${kek.upstream.type})`))].join(
      ', ',
    );
    throw invalidField('key', `${name} has no KEK in a local upstream; change it at its upstream ${upstreams}`);
  }

  /** The first KEK that has a new version; undefined when there is none to rotate here. */
  async rotate(keyring: Keyring): Promise<ChangedKek | undefined> {
    const rotated = await eachInTurn(localKeks(keyring), ({ kek, upstream }) =>
      this.#follower.rotate(kek.upstreamName, kek.uri, () => upstream.rotateKek(kek.uri)),
    );
    const [first] = rotated;
    return first === undefined ? undefined : { uri: first.uri, version: newestVersion(first) };
  }

  async change(keyring: Keyring, change: KekChange, by: string): Promise<void> {
    const keks = this.changeable(keyring);
    const inOrder = change === 'enable' ? keks.toReversed() : keks;
    await eachInTurn(inOrder, async ({ kek, upstream }) =>
      this.#changed(kek, await upstream.changeKek(kek.uri, change, by)),
    );
  }

  async scheduleDeletion(
    keyring: Keyring,
    request: { waitingPeriodMs: number; by: string; custodians: number },
  ): Promise<DeletionFacts> {
    const described = await eachInTurn(this.changeable(keyring), async ({ kek, upstream }) =>
      this.#changed(kek, await upstream.scheduleKekDeletion(kek.uri, request)),
    );
    const deletions = described.map(({ deletion }) => deletion);
    const times = deletions.map((deletion) => deletion?.at);
    return {
      requestedBy: deletions[0]?.requestedBy ?? [],
      waitingPeriodMs: request.waitingPeriodMs,
      at: times.some((at) => at === undefined) ? undefined : Math.max(...times.map(Number)),
    };
  }

  async cancelDeletion(keyring: Keyring, by: string): Promise<void> {
    await eachInTurn(this.changeable(keyring).toReversed(), async ({ kek, upstream }) =>
      this.#changed(kek, await upstream.cancelKekDeletion(kek.uri, by)),
    );
  }

  /** Returns how many DEKs were zeroed. */
  async changePartition(
    keyring: Keyring,
    partition: EncryptionContext,
    change: 'disable' | 'enable',
    by: string,
  ): Promise<number> {
    const keks = this.changeable(keyring);
    const inOrder = change === 'enable' ? keks.toReversed() : keks;
    let purged = 0;
    await eachInTurn(inOrder, async ({ kek, upstream }) => {
      await upstream.changePartition(kek.uri, keyring.options.name, partition, change, by);
      // After each, as changed KEKs are acted on: the next one may fail.
      if (change === 'disable') purged += keyring.purgePartition(partition);
    });
    return purged;
  }

  /** The provider has told the follower already; that must not depend on when it does. */
  #changed(kek: Kek, description: KekDescription): KekDescription {
    this.#follower.changed(kek.upstreamName, description);
    return description;
  }
}

export function newestVersion(kek: KekDescription): string {
  return kek.versions.find(({ state }) => state === 'active')?.version ?? '';
}

/** An upstream's failure at what an administrator asked for; its text is about the store, for whoever runs it. */
export async function ownFailures<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (thrown) {
    if (!(thrown instanceof UpstreamFailure)) throw thrown;
    throw new DekdError('UPSTREAM_UNAVAILABLE', thrown.message, { cause: thrown });
  }
}

/** Authorities first. Recovery recipients are wrapped for and left alone. */
function localKeks(keyring: Keyring): LocalKek[] {
  const local: (LocalKek & { role: string })[] = [];
  for (const { kek, role } of keyring.options.recipients) {
    if (hasLifecycle(kek.upstream)) local.push({ kek, upstream: kek.upstream, role });
  }
  return [...local.filter(({ role }) => role === 'authority'), ...local.filter(({ role }) => role === 'standby')];
}

/** One KEK after the other. The error of one that fails names those that are changed already. */
async function eachInTurn<T>(keks: readonly LocalKek[], change: (kek: LocalKek) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (const [index, kek] of keks.entries()) {
    try {
      results.push(await ownFailures(change(kek)));
    } catch (thrown) {
      if (index === 0 || !(thrown instanceof DekdError)) throw thrown;
      const done = keks
        .slice(0, index)
        .map((one) => one.kek.uri)
        .join(', ');
      const text = `${thrown.message}; done before that: KEK ${done}; ask for the same again`;
      throw new DekdError(thrown.reason, text, { cause: thrown, metadata: thrown.metadata });
    }
  }
  return results;
}
