/** A KEK that an administrative call made or changed. */
export interface ChangedKek {
  readonly uri: string;
  readonly version: string;
}

export interface MemoryFacts {
  readonly kind: string;
  readonly size: number;
  readonly requested: number;
  readonly slots: number;
  readonly slotsUsed: number;
}

export interface UpstreamFacts {
  readonly name: string;
  readonly type: string;
  readonly warnings: readonly string[];
}

/** What the daemon as a whole can tell and do; the handlers decide who may ask. */
export interface Administration {
  readonly version: string;
  readonly profile: string;
  /** Unix milliseconds. */
  readonly startedAtMs: number;
  /** Of the process; each upstream has its own. */
  readonly warnings: readonly string[];
  readonly upstreams: readonly UpstreamFacts[];
  memory(): MemoryFacts;
  /**
   * Makes a KEK in a `local` upstream ("" = the only one); `usable` says whether a key of that name serves at once.
   * Throws KEY_EXISTS or INVALID_REQUEST.
   */
  createKek(
    name: string,
    upstream: string,
    labels: ReadonlyMap<string, string>,
  ): Promise<ChangedKek & { readonly usable: boolean }>;
  /** A new version of each KEK of the key that can be rotated here; the first one, or undefined when there is none. */
  rotateKeks(keyName: string): Promise<ChangedKek | undefined>;
}
