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
  token.cryptoki.C_DecryptInit(session.handle, mechanism, key.handle);
}

export async function sealUnder(work: Work, mechanism: Mechanism, dek: Buffer, wrappedBytes: number): Promise<Buffer> {
  const { token, session, key } = work;
  const { cryptoki } = token;
  const handle = key.wrapHandle ?? key.handle;
  const output = Buffer.alloc(Math.max(wrappedBytes, MAX_PADDED_BYTES));
  let sealed: Buffer;
  if (key.allows.encrypt && (token.offers(mechanism.mechanism) & OFFERS.ENCRYPT) !== 0) {
    cryptoki.C_EncryptInit(session.handle, mechanism, handle);
    sealed = await encrypt(work, dek, output);
  } else {
    const object = cryptoki.C_CreateObject(session.handle, [...SESSION_OBJECT, { type: CKA.VALUE, value: dek }]);
    sealed = await withObject(work, object, () => {
      const args = [session.handle, mechanism, handle, object, output] as const;
      return token.pace.call(
        [output],
        () => cryptoki.C_WrapKey(...args),
        () => cryptoki.C_WrapKeyAsync(...args),
      );
    });
  }
  if (sealed.length === wrappedBytes) return sealed;
  const problem = `wraps 32 bytes into ${sealed.length}, not ${wrappedBytes}`;
  throw new KeyUnfit(`token ${token.label}: its mechanism 0x${mechanism.mechanism.toString(16)} ${problem}`);
}

export async function openUnder(work: Work, mechanism: Mechanism, wrapped: Buffer): Promise<Buffer> {
  const { token, session, key } = work;
  const { cryptoki } = token;
  const offers = token.offers(mechanism.mechanism);
  const unwrapOnly = key.allows.unwrap && !key.allows.decrypt;
  if ((offers & OFFERS.DECRYPT) !== 0 && !(unwrapOnly && (offers & OFFERS.UNWRAP) !== 0)) {
    const begin = (): void => cryptoki.C_DecryptInit(session.handle, mechanism, key.handle);
    return decrypt(work, begin, wrapped);
  }
  const args = [session.handle, mechanism, key.handle, wrapped, SESSION_OBJECT] as const;
  const object = await token.pace.call(
    [wrapped],
    () => cryptoki.C_UnwrapKey(...args),
    () => cryptoki.C_UnwrapKeyAsync(...args),
  );
  return withObject(work, object, async () => {
    const [attribute] = cryptoki.C_GetAttributeValue(session.handle, object, [{ type: CKA.VALUE }]);
    return outsideHeap(attribute?.value);
  });
}

/** After C_EncryptInit. `memory`: what the library was told of by that and may still use. */
export function encrypt(
  { token, session }: Work,
  input: Buffer,
  output: Buffer,
  memory: readonly Buffer[] = [],
): Promise<Buffer> {
  const { cryptoki, pace } = token;
  return pace.call(
    [input, output, ...memory],
    () => cryptoki.C_Encrypt(session.handle, input, output),
    () => cryptoki.C_EncryptAsync(session.handle, input, output),
  );
}

/** What comes back is the caller's to zero; after a failure nothing of it is left. `memory` as in `encrypt`. */
export async function decrypt(
  { token, session }: Work,
  begin: () => void,
  input: Buffer,
  memory: readonly Buffer[] = [],
): Promise<Buffer> {
  const { cryptoki, pace } = token;
  const output = secretBuffer(input.length);
  begin();
  try {
    return await pace.call(
      [input, output, ...memory],
      () => cryptoki.C_Decrypt(session.handle, input, output),
      () => cryptoki.C_DecryptAsync(session.handle, input, output),
    );
  } catch (error) {
    output.fill(0);
    throw error;
  }
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

/** Without the object `use` comes to nothing: what it made may be a DEK, and is zeroed. */
async function withObject({ token, session }: Work, object: Handle, use: () => Promise<Buffer>): Promise<Buffer> {
  let made: Buffer | undefined;
  let isDestroyed = false;
  try {
    made = await use();
    return made;
  } finally {
    try {
      token.cryptoki.C_DestroyObject(session.handle, object);
      isDestroyed = true;
    } finally {
      if (!isDestroyed) made?.fill(0);
    }
  }
}

function outsideHeap(value: Buffer | undefined): Buffer {
  const copy = secretBuffer(value?.length ?? 0);
  value?.copy(copy);
  value?.fill(0);
  return copy;
}
