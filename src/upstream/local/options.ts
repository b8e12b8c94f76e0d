/** Settings of a `local` upstream: a software KMS whose KEKs lie in one directory, wrapped under a root key. */
export interface LocalOptions {
  type: 'local';
  /** Made with mode 0700 when absent. One agent at a time has it open. */
  directory: string;
  /**
   * A file of exactly 32 bytes, or `development`: `root.key` beside the store, made when there is no store yet. The second protects
   * nothing from whoever reads the directory; only the development profile may ask for it (the daemon sees to that).
   */
  rootKey: { file: string } | { development: true };
  /** Unix milliseconds, for creation times. Default Date.now. */
  wallClock?: () => number;
}
