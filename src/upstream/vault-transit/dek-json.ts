import { secretBuffer } from '../../crypto/secret-buffer.ts';

// A DEK travels to Vault and back as base64 inside JSON. JSON.stringify and JSON.parse would make strings of it, which V8 keeps for as long as
// it likes and nobody can zero; so these bytes are written and read in buffers.

const DEK_BYTES = 32;
const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'latin1');
const PADDING = 0x3d;
/** 32 bytes: ten groups of three bytes, and two bytes with one padding character (RFC 4648, section 4). */
const BASE64_BYTES = 44;
const FIELD = '"plaintext":';
const BLANK = 'A'.repeat(BASE64_BYTES);
const VALUES = new Int8Array(256).fill(-1);
for (const [value, character] of ALPHABET.entries()) VALUES[character] = value;

/** `{"plaintext": DEK, …fields}`; the caller zeroes it. `fields` hold no secrets. */
export function bodyWithDek(dek: Uint8Array, fields: Readonly<Record<string, string>>): Buffer {
  const head = '{"plaintext":"';
  const tail = `",${JSON.stringify(fields).slice(1)}`;
  const body = secretBuffer(head.length + BASE64_BYTES + Buffer.byteLength(tail));
  body.write(head);
  encode(dek, body, head.length);
  body.write(tail, head.length + BASE64_BYTES);
  return body;
}

/**
 * The DEK of `{"data": {"plaintext": DEK}}`, taken out of `body`, where a blank stands then. Undefined when the body is not of that form, or
 * what it holds has not 32 bytes.
 */
export function takeDek(body: Buffer): Uint8Array | undefined {
  const name = body.indexOf(FIELD);
  const at = name < 0 ? 0 : body.indexOf('"', name + FIELD.length) + 1;
  if (at === 0 || at + BASE64_BYTES >= body.length) return undefined;
  const dek = secretBuffer(DEK_BYTES);
  const decoded = decode(body, at, dek);
  body.write(BLANK, at);
  if (decoded && isDekAnswer(body)) return dek;
  dek.fill(0);
  return undefined;
}

/** That it was the field of `data`, and not some other text of the same look. */
function isDekAnswer(blanked: Buffer): boolean {
  try {
    const { data } = JSON.parse(blanked.toString()) as { data?: { plaintext?: unknown } };
    return data?.plaintext === BLANK;
  } catch {
    return false;
  }
}

function encode(dek: Uint8Array, target: Buffer, offset: number): void {
  let at = offset;
  for (let index = 0; index < DEK_BYTES; index += 3) {
    const bits = (dek[index]! << 16) | ((dek[index + 1] ?? 0) << 8) | (dek[index + 2] ?? 0);
    for (const shift of [18, 12, 6, 0]) target[at++] = ALPHABET[(bits >> shift) & 63]!;
  }
  target[offset + BASE64_BYTES - 1] = PADDING;
}

/** False when it is not exactly 44 characters of base64 for 32 bytes. */
function decode(source: Buffer, offset: number, target: Buffer): boolean {
  let bits = 0;
  let wrong = 0;
  for (let index = 0; index < BASE64_BYTES - 1; index++) {
    const value = VALUES[source[offset + index]!]!;
    wrong |= value;
    bits = (bits << 6) | value;
    if (index % 4 !== 3) continue;
    target[(index >> 2) * 3] = bits >> 16;
    target[(index >> 2) * 3 + 1] = bits >> 8;
    target[(index >> 2) * 3 + 2] = bits;
  }
  // The last three characters carry 16 bits and two that must be zero.
  target[DEK_BYTES - 2] = bits >> 10;
  target[DEK_BYTES - 1] = bits >> 2;
  const ends = source[offset + BASE64_BYTES - 1] === PADDING && source[offset + BASE64_BYTES] === 0x22;
  return wrong >= 0 && (bits & 3) === 0 && ends;
}
