import { aesGcm } from './aes-gcm.ts';
import type { Key } from './key.ts';
import { aesKeyWrap, aesKeyWrapPadded } from './key-wrap.ts';
import { rsaOaep } from './rsa-oaep.ts';
import type { Session } from './session-pool.ts';
import type { Token } from './token.ts';

/** What a wrap or unwrap works on. */
export interface Work {
  readonly token: Token;
  readonly session: Session;
  readonly key: Key;
  /** The wrap context, encoded: associated data where the mechanism has some. */
  readonly aad: Buffer;
}

/** A way to wrap a DEK. */
export interface WrapMechanism {
  /** Byte of the dek-block. */
  readonly algorithm: number;
  readonly name: string;
  readonly kind: Key['kind'];
  wrappedBytes(key: Key): number;
  /** Whether the token and the key allow it. */
  offered(token: Token, key: Key): boolean;
  /** Whether the token and the key allow to unwrap. */
  opens(token: Token, key: Key): boolean;
  /** Begins a decryption, where the mechanism decrypts bytes: proof that the token still takes the key. It stays active on the session. */
  begin(work: Work): void;
  /** Settles when the library has returned, and not before: until then it reads `dek`. */
  wrap(work: Work, dek: Buffer): Promise<Buffer>;
  /** The caller zeroes what comes back. */
  unwrap(work: Work, wrapped: Buffer): Promise<Buffer>;
}

/** In the order of preference: associated data before none. */
export const MECHANISMS: readonly WrapMechanism[] = [aesGcm, aesKeyWrap, aesKeyWrapPadded, rsaOaep];

export const DEK_BYTES = 32;
