import type { ChangedKek, ChangeTarget, DeletionFacts } from '../api/administration.ts';
import type { EncryptionContext } from '../crypto/context.ts';
import { DekdError, invalidField } from '../errors.ts';
import type { Kek } from '../keyring/kek.ts';
import type { Keyring } from '../keyring/keyring.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import {
  hasLifecycle,
  type KekChange,
  type KekDescription,
  type KekLifecycle,
  type Upstream,
} from '../upstream/provider.ts';
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
  readonly #upstreams: ReadonlyMap<string, Upstream>;

  /** `upstreams`: by name, as they were opened. A KEK's own is what DEKs go through, drills and all: it changes nothing. */
  constructor(follower: KekFollower, upstreams: ReadonlyMap<string, Upstream>) {
    this.#follower = follower;
    this.#upstreams = upstreams;
  }

  /** Authorities first, or the one that the target names. Throws INVALID_REQUEST when the key has none that could be changed here. */
  changeable({ keyring, kek }: ChangeTarget): readonly LocalKek[] {
    if (kek !== '') return [this.#named(keyring, kek)];
    const found = this.rotatable(keyring);
    if (found.length > 0) return found;
    const { name, recipients } = keyring.options;
    const upstreams = [...new Set(recipients.map(({ kek }) => `${kek.upstreamName} (${kek.upstream.type})`))].join(
      ', ',
    );
    throw invalidField('key', `${name} has no KEK in a local upstream; change it at its upstream ${upstreams}`);
  }

  /** Authorities first. Recovery recipients are wrapped for and left alone. */
  rotatable(keyring: Keyring): readonly LocalKek[] {
    const { recipients } = keyring.options;
    const ofRole = (wanted: string): LocalKek[] =>
      this.#local(recipients.filter(({ role }) => role === wanted).map(({ kek }) => kek));
    return [...ofRole('authority'), ...ofRole('standby')];
  }

  /** The first KEK that has a new version; undefined when there is none to rotate here. */
  async rotate(keyring: Keyring, by: string): Promise<ChangedKek | undefined> {
    const rotated = await eachInTurn(this.rotatable(keyring), ({ kek, upstream }) =>
      this.#follower.rotate(keyring.options.name, kek.upstreamName, () => upstream.rotateKek(kek.uri, by)),
    );
    const [first] = rotated;
    return first === undefined ? undefined : { uri: first.uri, version: newestVersion(first) };
  }

  async change(target: ChangeTarget, change: KekChange, by: string): Promise<void> {
    const keks = this.changeable(target);
    const inOrder = change === 'enable' ? keks.toReversed() : keks;
    await eachInTurn(inOrder, async ({ kek, upstream }) =>
      this.#changed(kek, await upstream.changeKek(kek.uri, change, by)),
    );
  }

  async scheduleDeletion(
    target: ChangeTarget,
    request: { waitingPeriodMs: number; by: string; custodians: number },
  ): Promise<DeletionFacts> {
    const described = await eachInTurn(this.changeable(target), async ({ kek, upstream }) =>
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

  async cancelDeletion(target: ChangeTarget, by: string): Promise<void> {
    await eachInTurn(this.changeable(target).toReversed(), async ({ kek, upstream }) =>
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
    const keks = this.changeable({ keyring, kek: '' });
    const inOrder = change === 'enable' ? keks.toReversed() : keks;
    let purged = 0;
    await eachInTurn(inOrder, async ({ kek, upstream }) => {
      await upstream.changePartition(kek.uri, keyring.options.name, partition, change, by);
      // After each, as changed KEKs are acted on: the next one may fail.
      if (change === 'disable') purged += keyring.purgePartition(partition);
    });
    return purged;
  }

  /**
   * One KEK of a key by its reference, whatever the key has it for: a retired one stands only in decrypt_with. The answer to an unknown one names
   * those that there are.
   */
  #named({ options }: Keyring, reference: string): LocalKek {
    const local = this.#local([...options.recipients.map(({ kek }) => kek), ...options.decryptWith]);
    const found = local.filter(({ kek }) => kek.uri === reference || shortReference(kek) === reference);
    const [only] = found;
    if (only !== undefined && found.length === 1) return only;
    const known = local.map(({ kek }) => kek.uri).join(', ') || 'none';
    const problem =
      found.length > 1
        ? `${reference} is a KEK of ${options.name} in several upstreams`
        : `is no KEK of key ${options.name} in a local upstream`;
    throw invalidField('kek', `${problem}; write one of: ${known}`);
  }

  #local(keks: readonly Kek[]): LocalKek[] {
    return keks.flatMap((kek): LocalKek[] => {
      const upstream = this.#upstreams.get(kek.upstreamName);
      return upstream !== undefined && hasLifecycle(upstream) ? [{ kek, upstream }] : [];
    });
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

/** `local:NAME`, as configurations have it. */
function shortReference({ uri }: Kek): string {
  return `local:${uri.slice(uri.lastIndexOf('/') + 1)}`;
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
