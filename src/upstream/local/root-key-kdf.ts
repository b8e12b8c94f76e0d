import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import type { RootKeySource } from './options.ts';

/** How a store's root key comes about, as its store record has it: the bytes of a file, or a passphrase through scrypt (RFC 7914). */
export interface RootKeyKdf {
  readonly rootKeyKdf: 'raw' | 'scrypt';
  /** Salt and cost of scrypt; null exactly for `raw`. */
  readonly rootKeyParams: Uint8Array | null;
}

export interface ScryptParams {
  readonly salt: Uint8Array;
  /** scrypt's N = 2^logN; it needs 128 × r × N bytes of memory for the time that it runs. */
  readonly logN: number;
  readonly r: number;
  readonly p: number;
}

const SALT_BYTES = 16;
const LOG_N = 17;
const R = 8;
const P = 1;
// The parameters must be read before the key exists that proves them. Weaker ones than dekd ever wrote would make the passphrase cheap to
// guess from the root key id that a message shows; stronger ones would let an edited store take all memory and time of the machine.
const MAX_LOG_N = 19;
const MAX_P = 4;

export const RAW: RootKeyKdf = { rootKeyKdf: 'raw', rootKeyParams: null };

/** For a store, or a root key, that is made now: a passphrase gets a salt of its own. */
export function newRootKeyKdf(source: RootKeySource): RootKeyKdf {
  if (!('passphrase' in source)) return RAW;
  return { rootKeyKdf: 'scrypt', rootKeyParams: Buffer.concat([randomBytes(SALT_BYTES), Buffer.of(LOG_N, R, P)]) };
}

/** salt (16) | u8 log2 N (17–19) | u8 r (8) | u8 p (1–4); undefined for anything else. 19 takes 512 MiB. */
export function parseScryptParams(bytes: Uint8Array | null): ScryptParams | undefined {
  if (bytes?.length !== SALT_BYTES + 3) return undefined;
  const [logN = 0, r = 0, p = 0] = bytes.subarray(SALT_BYTES);
  const sound = logN >= LOG_N && logN <= MAX_LOG_N && r === R && p >= P && p <= MAX_P;
  return sound ? { salt: bytes.subarray(0, SALT_BYTES), logN, r, p } : undefined;
}
