import type { EncryptionContext } from '../crypto/context.ts';
import { DekdError } from '../errors.ts';

/** What is revoked: a key, or all of it whose partition has these pairs, whatever further pairs it has. */
export interface Revocation {
  readonly key: string;
  readonly partition: EncryptionContext | undefined;
}

/** What is revoked of one key. */
interface Revoked {
  readonly whole: boolean;
  /** Partitions by the names of their pairs, so that a lookup costs no more for thousands of them. */
  readonly groups: ReadonlyMap<string, { readonly names: readonly string[]; readonly values: ReadonlySet<string> }>;
  /** The same for the same revocations, in whatever order. */
  readonly identity: string;
}

/**
 * Keys and partitions that the operator's file revokes, whatever any upstream says. Looked at where DEKs are made and unwrapped: those
 * that were held when a revocation came are zeroed, so that a hit need not ask.
 */
export class Revocations {
  #source = '';
  #keys: ReadonlyMap<string, Revoked> = new Map();

  /** From now on these and no others, as `source` has them. Returns the keys for which that is something else than before. */
  replace(revocations: readonly Revocation[], source: string): string[] {
    const before = this.#keys;
    const byKey = Map.groupBy(revocations, ({ key }) => key);
    this.#source = source;
    this.#keys = new Map([...byKey].map(([key, ofKey]) => [key, revokedOf(ofKey)]));
    const named = new Set([...before.keys(), ...this.#keys.keys()]);
    return [...named].filter((key) => before.get(key)?.identity !== this.#keys.get(key)?.identity);
  }

  /** Whether nothing of the key may be used. */
  revokesKey(key: string): boolean {
    return this.#keys.get(key)?.whole === true;
  }

  covers(key: string, partition: EncryptionContext): boolean {
    const revoked = this.#keys.get(key);
    if (revoked === undefined) return false;
    if (revoked.whole) return true;
    for (const { names, values } of revoked.groups.values()) if (values.has(valuesOf(names, partition))) return true;
    return false;
  }

  /** Throws KEY_DISABLED for what is revoked. */
  check(key: string, partition: EncryptionContext): void {
    if (this.#keys.size > 0 && this.covers(key, partition)) throw this.refusal(key);
  }

  refusal(key: string): DekdError {
    const what = this.revokesKey(key) ? 'is revoked' : 'refuses this partition: it is revoked';
    const text = `key ${key} ${what} by ${this.#source}; it serves again when its entry is taken out of that file`;
    return new DekdError('KEY_DISABLED', text, { metadata: { key } });
  }
}

function revokedOf(revocations: readonly Revocation[]): Revoked {
  const groups = new Map<string, { names: readonly string[]; values: Set<string> }>();
  let whole = false;
  for (const { partition } of revocations) {
    if (partition === undefined) {
      whole = true;
      continue;
    }
    const names = [...partition.keys()].sort();
    const group = groups.get(JSON.stringify(names)) ?? { names, values: new Set() };
    groups.set(JSON.stringify(names), group);
    group.values.add(valuesOf(names, partition));
  }
  const partitions = [...groups].map(([names, { values }]) => [names, [...values].sort()]).sort();
  return { whole, groups, identity: JSON.stringify([whole, partitions]) };
}

/** A missing one is null, which no revoked value is. */
function valuesOf(names: readonly string[], partition: EncryptionContext): string {
  return JSON.stringify(names.map((name) => partition.get(name)));
}
