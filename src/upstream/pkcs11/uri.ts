import { type DekdError, invalidField } from '../../errors.ts';
import { parseKekReference, quoteReference } from '../uri.ts';
import type { Pkcs11Options } from './options.ts';

// PKCS#11 URIs (RFC 7512). The normal form has `id`, `object` and `token`, in that order, with every byte but the unreserved characters of
// RFC 3986 percent-encoded in upper case (docs/envelope.md): RFC 7512 lets one object be written in many ways, and KEKs are compared byte for byte.

/** What a KEK is found by: at least one of `id` and `object`. */
export interface Pkcs11Kek {
  /** CKA_ID */
  readonly id: Buffer | undefined;
  /** CKA_LABEL */
  readonly object: string | undefined;
  /** Label of the token. */
  readonly token: string | undefined;
}

const ATTRIBUTES = ['id', 'object', 'token'] as const;
type AttributeName = (typeof ATTRIBUTES)[number];

/** CK_TOKEN_INFO has 32 bytes for a label, padded with blanks. */
const MAX_TOKEN_BYTES = 32;
/** So that a KEK never fills a dek-block; no token known has room for longer ones. */
const MAX_ATTRIBUTE_BYTES = 255;

/** What RFC 7512 knows and dekd does not take, with the way out. */
const NOT_TAKEN: ReadonlyMap<string, string> = new Map([
  ['pin-value', 'a PIN has no place in a URI; give the upstream `pin: { file: … }` or `pin: { credential: … }`'],
  ['pin-source', 'give the upstream `pin: { file: … }` or `pin: { credential: … }`'],
  ['module-path', 'give the upstream `module_path`'],
  ['module-name', 'give the upstream `module_path`'],
  ...['type', 'manufacturer', 'model', 'serial', 'slot-id', 'slot-manufacturer', 'slot-description'].map(
    (name) => [name, 'leave it out: a KEK is named by id, object and token'] as const,
  ),
  ...['library-manufacturer', 'library-description', 'library-version'].map(
    (name) => [name, 'leave it out: the library is the upstream’s `module_path`'] as const,
  ),
]);

/**
 * The normal form. Throws DekdError INVALID_REQUEST for what is no PKCS#11 URI of a KEK, and for a token that is not one of the upstream's.
 */
export function resolve(reference: string, options: Pick<Pkcs11Options, 'tokens'>): string {
  const kek = parsePkcs11Kek(reference);
  const members = options.tokens ?? [];
  if (kek.token === undefined && members.length === 0) {
    throw invalidKek(reference, 'has no token; add ;token=LABEL, or list the labels in `tokens` of the upstream');
  }
  if (kek.token !== undefined && members.length > 0 && !members.includes(kek.token)) {
    throw invalidKek(reference, `names a token that is not among \`tokens\` of the upstream (${members.join(', ')})`);
  }
  return formatPkcs11Kek(kek);
}

/** Throws DekdError INVALID_REQUEST. */
export function parsePkcs11Kek(reference: string): Pkcs11Kek {
  const { type, rest } = parseKekReference(reference);
  if (type !== 'pkcs11') throw invalidKek(reference, 'is not a PKCS#11 URI; write pkcs11:object=NAME;token=LABEL');
  const values = parseAttributes(reference, rest);
  const token = values.get('token');
  if (token !== undefined && (token.length > MAX_TOKEN_BYTES || token.at(-1) === 0x20)) {
    throw invalidKek(reference, `has a token label of more than ${MAX_TOKEN_BYTES} bytes, or with a blank at its end`);
  }
  const kek = {
    id: values.get('id'),
    object: textOf(reference, 'object', values.get('object')),
    token: textOf(reference, 'token', token),
  };
  if (kek.id === undefined && kek.object === undefined) {
    throw invalidKek(reference, 'names no key; write pkcs11:object=NAME;token=LABEL or pkcs11:id=%01%02;token=LABEL');
  }
  return kek;
}

/** For a KEK that no token has. */
export function howToMakePkcs11Kek(kek: string): string {
  const { id, object, token } = parsePkcs11Kek(kek);
  const flags = [
    `--token-label ${shellWord(token, 'TOKEN')}`,
    '--login --keygen --key-type AES:32',
    `--label ${shellWord(object, 'LABEL')}`,
    ...(id === undefined ? [] : [`--id ${id.toString('hex')}`]),
  ];
  return `make it with \`pkcs11-tool --module LIB.so ${flags.join(' ')} --sensitive --private --usage-decrypt\``;
}

/** In a message: what a shell would not take as it is stands there by its name. */
function shellWord(text: string | undefined, name: string): string {
  return text !== undefined && /^[A-Za-z0-9._@%+:,-]+$/.test(text) ? text : name;
}

function formatPkcs11Kek({ id, object, token }: Pkcs11Kek): string {
  const values = { id, object: object && Buffer.from(object), token: token && Buffer.from(token) };
  const attributes = ATTRIBUTES.flatMap((name) => {
    const value = values[name];
    return value === undefined || value === '' ? [] : [`${name}=${percentEncode(value)}`];
  });
  return `pkcs11:${attributes.join(';')}`;
}

function parseAttributes(reference: string, rest: string): Map<AttributeName, Buffer> {
  // Before any message quotes the URI: it may hold a PIN.
  for (const attribute of rest.split(/[;?&]/)) {
    const [name] = splitOnce(attribute, '=');
    const wayOut = NOT_TAKEN.get(name);
    if (wayOut !== undefined) throw invalidField('kek', `a PKCS#11 URI with ${name}: ${wayOut}`);
  }
  const values = new Map<AttributeName, Buffer>();
  for (const attribute of rest.split(';')) {
    const [name, value] = splitOnce(attribute, '=');
    if (!isAttributeName(name) || value === undefined || rest.includes('?')) {
      throw invalidKek(reference, 'is not made of id=…, object=… and token=…, with semicolons between them');
    }
    if (values.has(name)) throw invalidKek(reference, `has ${name} twice`);
    values.set(name, percentDecode(reference, name, value));
  }
  return values;
}

function isAttributeName(name: string): name is AttributeName {
  return (ATTRIBUTES as readonly string[]).includes(name);
}

/** What RFC 7512 section 2.3 lets stand in a path attribute as it is (pk11-pchar). */
const PLAIN = /^(?:[A-Za-z0-9\-._~:[\]@!$'()*+,=&]|%[0-9A-Fa-f]{2})+$/;

function percentDecode(reference: string, name: string, value: string): Buffer {
  if (!PLAIN.test(value)) {
    throw invalidKek(reference, `has in ${name} nothing, or a character that must be percent-encoded (RFC 7512)`);
  }
  const bytes = value.replace(/%(..)|(.)/g, (_, hex: string | undefined, plain: string) =>
    hex === undefined ? plain.charCodeAt(0).toString(16) : hex,
  );
  const decoded = Buffer.from(bytes, 'hex');
  if (decoded.length > MAX_ATTRIBUTE_BYTES) {
    throw invalidKek(reference, `has more than ${MAX_ATTRIBUTE_BYTES} bytes in ${name}`);
  }
  return decoded;
}

function percentEncode(bytes: Buffer): string {
  return [...bytes]
    .map((byte) => {
      const character = String.fromCharCode(byte);
      return /[A-Za-z0-9\-._~]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');
}

function textOf(reference: string, name: string, bytes: Buffer | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw invalidKek(reference, `has bytes in ${name} that are not UTF-8`);
  }
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

function invalidKek(reference: string, problem: string): DekdError {
  return invalidField('kek', `${quoteReference(reference)} ${problem}`);
}
