import type { LocalClock } from './clock.ts';

/** Where a root key comes from; root-key.ts and docs/keystore.md say what each must look like. */
export type RootKeySource =
  | { file: string }
  | { credential: string }
  | { passphrase: { file: string } | { credential: string } }
  | { development: true };

/** What is done with KEKs as time goes by. */
export interface KekSchedule {
  /** Age of the version that wraps at which the next one is made, in milliseconds. Default never. */
  rotateAfterMs: number | undefined;
  /** Versions that are not archived; a rotation beyond it archives the oldest. Default unlimited. */
  maxVersions: number | undefined;
}

/** The same for one KEK; what it does not name is as for the others. */
export interface KekSettings {
  rotateAfterMs?: number;
  maxVersions?: number;
  /** Unix milliseconds from which on the KEK decrypts only. Default never. */
  expiresAt?: number;
}

/** Settings of a `local` upstream: a software KMS whose KEKs lie in one directory, wrapped under a root key. */
export interface LocalOptions {
  type: 'local';
  /** Made with mode 0700 when absent. One agent at a time has it open. */
  directory: string;
  /**
   * A file or systemd credential of exactly 32 bytes, a passphrase, or `development`: `root.key` beside the store, made when there is no store
   * yet. The last protects nothing from whoever reads the directory; only the development profile may ask for it (the daemon sees to that).
   */
  rootKey: RootKeySource;
  schedule?: KekSchedule;
  /** By KEK name. Default none. */
  keks?: ReadonlyMap<string, KekSettings>;
  /** Called when something whose time has come could not be done, and again when it fails in another way. Default: only `warnings` shows it. */
  onWarning?: (warning: string) => void;
  /** Default the system's. */
  clock?: LocalClock;
}
