import { aesGcm } from './aes-gcm.ts';
import type { Handle } from './cryptoki.ts';
import type { Key } from './key.ts';
import { aesKeyWrap, aesKeyWrapPadded } from './key-wrap.ts';
import { rsaOaep } from './rsa-oaep.ts';
import type { Token } from './token.ts';

/** What a wrap or unwrap works on. */
export interface Work {
  readonly token: Token;
  readonly session: Handle;
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
  /** Begins a decryption, where the mechanism decrypts bytes: proof that the token still takes the key. */
  begin(work: Work): void;
  wrap(work: Work, dek: Buffer): Buffer;
  /** The caller zeroes what comes back. */
  unwrap(work: Work, wrapped: Buffer): Buffer;
}

/** In the order of preference: associated data before none. */
export const MECHANISMS: readonly WrapMechanism[] = [aesGcm, aesKeyWrap, aesKeyWrapPadded, rsaOaep];

export const DEK_BYTES = 32;
