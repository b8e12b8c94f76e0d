import { CKM } from './cryptoki.ts';
import type { WrapMechanism } from './mechanisms.ts';
import { beginUnder, canOpen, canSeal, openUnder, sealUnder } from './seal.ts';
import type { Token } from './token.ts';

/** 32 bytes and one block of 8, with and without padding. */
const WRAPPED_BYTES = 40;

/** AES-KW (RFC 3394). It has no associated data: dek_id does the binding. */
export const aesKeyWrap: WrapMechanism = {
  algorithm: 3,
  name: 'AES-KW',
  kind: 'aes',
  wrappedBytes: () => WRAPPED_BYTES,
  offered: (token, key) => canSeal(token, key, CKM.AES_KEY_WRAP),
  opens: (token, key) => canOpen(token, key, CKM.AES_KEY_WRAP),
  begin: (work) => beginUnder(work, { mechanism: CKM.AES_KEY_WRAP }),
  wrap: (work, dek) => sealUnder(work, { mechanism: CKM.AES_KEY_WRAP }, dek, WRAPPED_BYTES),
  unwrap: (work, wrapped) => openUnder(work, { mechanism: CKM.AES_KEY_WRAP }, wrapped),
};

/** AES-KWP (RFC 5649). */
export const aesKeyWrapPadded: WrapMechanism = {
  algorithm: 4,
  name: 'AES-KWP',
  kind: 'aes',
  wrappedBytes: () => WRAPPED_BYTES,
  offered: (token, key) => canSeal(token, key, paddedMechanism(token)),
  opens: (token, key) => canOpen(token, key, paddedMechanism(token)),
  begin: (work) => beginUnder(work, { mechanism: paddedMechanism(work.token) }),
  wrap: (work, dek) => sealUnder(work, { mechanism: paddedMechanism(work.token) }, dek, WRAPPED_BYTES),
  unwrap: (work, wrapped) => openUnder(work, { mechanism: paddedMechanism(work.token) }, wrapped),
};

/**
 * v3.0 section 2.14 calls RFC 5649 CKM_AES_KEY_WRAP_KWP. Under v2.40 tokens have it as CKM_AES_KEY_WRAP_PAD; where that pads in PKCS#7's way
 * instead, 32 bytes become 48, which sealUnder refuses.
 */
function paddedMechanism(token: Token): number {
  return token.offers(CKM.AES_KEY_WRAP_KWP) === 0 ? CKM.AES_KEY_WRAP_PAD : CKM.AES_KEY_WRAP_KWP;
}
