import { secretBuffer } from '../../crypto/secret-buffer.ts';
import { type Attribute, CKA, CKK, CKO, type Handle, type Mechanism, OFFERS } from './cryptoki.ts';
import { KeyUnfit } from './errors.ts';
import type { Key } from './key.ts';
import type { Work } from './mechanisms.ts';
import type { Token } from './token.ts';

// Mechanisms that tokens offer in two ways: for bytes (C_Encrypt, C_Decrypt), or only for objects (C_WrapKey, C_UnwrapKey), where a DEK becomes a
// session object for the time of the call. Bytes are preferred.

export function canSeal(token: Token, { allows, wrapHandle }: Key, mechanism: number): boolean {
  const offers = token.offers(mechanism);
  const bytes = allows.encrypt && (offers & OFFERS.ENCRYPT) !== 0;
  return wrapHandle !== undefined && (bytes || (allows.wrap && (offers & OFFERS.WRAP) !== 0));
}

export function canOpen(token: Token, { allows }: Key, mechanism: number): boolean {
  const offers = token.offers(mechanism);
  const bytes = allows.decrypt && (offers & OFFERS.DECRYPT) !== 0;
  return bytes || (allows.unwrap && (offers & OFFERS.UNWRAP) !== 0);
}

/** Nothing to begin where the token unwraps objects only. */
export function beginUnder({ token, session, key }: Work, mechanism: Mechanism): void {
  if (!key.allows.decrypt || (token.offers(mechanism.mechanism) & OFFERS.DECRYPT) === 0) return;
  token.cryptoki.C_DecryptInit(session, mechanism, key.handle);
}

export function sealUnder(work: Work, mechanism: Mechanism, dek: Buffer, wrappedBytes: number): Buffer {
  const { token, session, key } = work;
  const { cryptoki } = token;
  const handle = key.wrapHandle ?? key.handle;
  const output = Buffer.alloc(Math.max(wrappedBytes, MAX_PADDED_BYTES));
  let sealed: Buffer;
  if (key.allows.encrypt && (token.offers(mechanism.mechanism) & OFFERS.ENCRYPT) !== 0) {
    cryptoki.C_EncryptInit(session, mechanism, handle);
    sealed = cryptoki.C_Encrypt(session, dek, output);
  } else {
    const object = cryptoki.C_CreateObject(session, [...SESSION_OBJECT, { type: CKA.VALUE, value: dek }]);
    sealed = withObject(work, object, () => cryptoki.C_WrapKey(session, mechanism, handle, object, output));
  }
  if (sealed.length === wrappedBytes) return sealed;
  const problem = `wraps 32 bytes into ${sealed.length}, not ${wrappedBytes}`;
  throw new KeyUnfit(`token ${token.label}: its mechanism 0x${mechanism.mechanism.toString(16)} ${problem}`);
}

export function openUnder(work: Work, mechanism: Mechanism, wrapped: Buffer): Buffer {
  const { token, session, key } = work;
  const { cryptoki } = token;
  const offers = token.offers(mechanism.mechanism);
  const unwrapOnly = key.allows.unwrap && !key.allows.decrypt;
  if ((offers & OFFERS.DECRYPT) !== 0 && !(unwrapOnly && (offers & OFFERS.UNWRAP) !== 0)) {
    cryptoki.C_DecryptInit(session, mechanism, key.handle);
    return cryptoki.C_Decrypt(session, wrapped, secretBuffer(wrapped.length));
  }
  const object = cryptoki.C_UnwrapKey(session, mechanism, key.handle, wrapped, SESSION_OBJECT);
  return withObject(work, object, () => {
    const [attribute] = cryptoki.C_GetAttributeValue(session, object, [{ type: CKA.VALUE }]);
    return outsideHeap(attribute?.value);
  });
}

/** Room for PKCS#7's way of padding, to see it and say so. */
const MAX_PADDED_BYTES = 48;

/** Without CKA_VALUE_LEN: SoftHSM takes it for a change of what it finds out itself. */
const SESSION_OBJECT: readonly Attribute[] = [
  { type: CKA.CLASS, value: CKO.SECRET_KEY },
  { type: CKA.KEY_TYPE, value: CKK.GENERIC_SECRET },
  { type: CKA.TOKEN, value: false },
  { type: CKA.SENSITIVE, value: false },
  { type: CKA.EXTRACTABLE, value: true },
];

function withObject<Result>({ token, session }: Work, object: Handle, use: () => Result): Result {
  try {
    return use();
  } finally {
    token.cryptoki.C_DestroyObject(session, object);
  }
}

function outsideHeap(value: Buffer | undefined): Buffer {
  const copy = secretBuffer(value?.length ?? 0);
  value?.copy(copy);
  value?.fill(0);
  return copy;
}
