import { type Attribute, CKA, CKK, CKO, type Cryptoki, type Handle } from './cryptoki.ts';
import { KeyUnfit, returnValue } from './errors.ts';
import { type Pkcs11Kek, parsePkcs11Kek } from './uri.ts';

/** A KEK on a token. */
export interface Key {
  readonly kind: 'aes' | 'rsa';
  /** The secret key, or the private one. */
  readonly handle: Handle;
  /** The secret key, or the public one: what wraps. Undefined when the token has no public key of that name. */
  readonly wrapHandle: Handle | undefined;
  readonly allows: {
    readonly encrypt: boolean;
    readonly decrypt: boolean;
    readonly wrap: boolean;
    readonly unwrap: boolean;
  };
  /** RSA only; else 0. */
  readonly modulusBytes: number;
}

/** More than one key of a name are not told apart. */
const MAX_FOUND = 2;

/** Throws KeyUnfit for a name of two keys, and for a key of a type that does not wrap. */
export function findKey(cryptoki: Cryptoki, session: Handle, uri: string): Key | undefined {
  const kek = parsePkcs11Kek(uri);
  const find = (objectClass: number) => findOne(cryptoki, session, kek, objectClass);
  const read = (object: Handle, type: number) => readAttribute(cryptoki, session, object, type);
  const is = (object: Handle | undefined, type: number) => object !== undefined && read(object, type)?.[0] === 1;

  const secret = find(CKO.SECRET_KEY);
  if (secret !== undefined) {
    checkType(read(secret, CKA.KEY_TYPE), CKK.AES, 'the secret key is not an AES key');
    const allows = {
      encrypt: is(secret, CKA.ENCRYPT),
      decrypt: is(secret, CKA.DECRYPT),
      wrap: is(secret, CKA.WRAP),
      unwrap: is(secret, CKA.UNWRAP),
    };
    return { kind: 'aes', handle: secret, wrapHandle: secret, allows, modulusBytes: 0 };
  }

  const own = find(CKO.PRIVATE_KEY);
  if (own === undefined) return undefined;
  checkType(read(own, CKA.KEY_TYPE), CKK.RSA, 'the private key is not an RSA key');
  const common = find(CKO.PUBLIC_KEY);
  const allows = {
    encrypt: is(common, CKA.ENCRYPT),
    decrypt: is(own, CKA.DECRYPT),
    wrap: is(common, CKA.WRAP),
    unwrap: is(own, CKA.UNWRAP),
  };
  return { kind: 'rsa', handle: own, wrapHandle: common, allows, modulusBytes: read(own, CKA.MODULUS)?.length ?? 0 };
}

function findOne(
  cryptoki: Cryptoki,
  session: Handle,
  { id, object }: Pkcs11Kek,
  objectClass: number,
): Handle | undefined {
  const template: Attribute[] = [{ type: CKA.CLASS, value: objectClass }];
  if (id !== undefined) template.push({ type: CKA.ID, value: id });
  if (object !== undefined) template.push({ type: CKA.LABEL, value: Buffer.from(object) });
  cryptoki.C_FindObjectsInit(session, template);
  const found = cryptoki.C_FindObjects(session, MAX_FOUND);
  cryptoki.C_FindObjectsFinal(session);
  if (found.length <= 1) return found[0];
  throw new KeyUnfit('the token has several keys of this name; give the KEK’s URI an id');
}

/** Undefined when the object does not have it, or does not tell. */
function readAttribute(cryptoki: Cryptoki, session: Handle, object: Handle, type: number): Buffer | undefined {
  try {
    return cryptoki.C_GetAttributeValue(session, object, [{ type }])[0]?.value;
  } catch (error) {
    if (ATTRIBUTE_UNKNOWN.includes(returnValue(error) ?? 0)) return undefined;
    throw error;
  }
}

/** CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID. */
const ATTRIBUTE_UNKNOWN: readonly number[] = [0x11, 0x12];

/** A CK_ULONG in the machine's order; the numbers in question fit into its lowest byte, and both machines that dekd runs on are little-endian. */
function checkType(value: Buffer | undefined, expected: number, problem: string): void {
  if (value?.[0] !== expected) throw new KeyUnfit(`${problem}; dekd wraps with AES and RSA keys`);
}
