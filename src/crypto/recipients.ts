import type { ByteReader } from './byte-reader.ts';
import { malformed } from './invalid-ciphertext.ts';

/** One KEK that a DEK is wrapped for, as the dek-block holds it. */
export interface BlockRecipient {
  /** 1 local, 2 aws-kms, 3 gcp-kms, 4 azure-keyvault, 5 vault-transit, 6 pkcs11. */
  type: number;
  /** 1-6, docs/envelope.md. */
  wrapAlgorithm: number;
  /** Normal form; compared byte for byte. */
  kekUri: string;
  /** Empty where the service hides its versions. */
  kekVersion: string;
  wrapped: Buffer;
}

const MAX_RECIPIENTS = 16;

/** By recipient type, from 1: what the KEK's URI starts with. */
export const RECIPIENT_SCHEMES: readonly string[] = [
  '',
  'local:',
  'aws-kms:',
  'gcp-kms:',
  'azure-keyvault:',
  'vault-transit:',
  'pkcs11:',
];

/** By wrap algorithm, from 1: bytes of a wrapped DEK, 0 where the service decides. */
const WRAPPED_BYTES: readonly number[] = [0, 0, 0, 40, 40, 60, 72];

/** Reads `u8 n | n recipients`, strictly; `wrapped` of each is a view. */
export function readRecipients(reader: ByteReader): BlockRecipient[] {
  const start = reader.offset;
  const count = reader.u8('its number of recipients');
  if (count < 1 || count > MAX_RECIPIENTS) {
    throw malformed(`${count} recipients, 1 to ${MAX_RECIPIENTS} are allowed`, start, reader.where);
  }
  const recipients: BlockRecipient[] = [];
  for (let index = 0; index < count; index++) {
    const at = reader.offset;
    const recipient = readRecipient(reader);
    const twice = recipients.some(
      ({ kekUri, kekVersion }) => kekUri === recipient.kekUri && kekVersion === recipient.kekVersion,
    );
    if (twice) throw malformed('the same KEK URI and version twice', at, reader.where);
    recipients.push(recipient);
  }
  return recipients;
}

function readRecipient(reader: ByteReader): BlockRecipient {
  const start = reader.offset;
  const type = reader.u8('a recipient type');
  const scheme = RECIPIENT_SCHEMES[type];
  if (!scheme) throw malformed(`unknown recipient type ${type}`, start, reader.where);
  const wrapAlgorithm = reader.u8('a wrap algorithm');
  const fixedBytes = wrapAlgorithm === 0 ? undefined : WRAPPED_BYTES[wrapAlgorithm];
  if (fixedBytes === undefined) throw malformed(`unknown wrap algorithm ${wrapAlgorithm}`, start + 1, reader.where);

  const uriStart = reader.offset;
  const kekUri = reader.text(reader.u16('the length of a KEK URI'), 'a KEK URI');
  if (!kekUri.startsWith(scheme) || kekUri.length === scheme.length) {
    throw malformed(`the KEK URI of recipient type ${type} must be ${scheme}…`, uriStart, reader.where);
  }
  const kekVersion = reader.text(reader.u16('the length of a KEK version'), 'a KEK version');

  const wrappedStart = reader.offset;
  const wrapped = reader.take(reader.u16('the length of a wrapped DEK'), 'a wrapped DEK');
  if (fixedBytes === 0 ? wrapped.length === 0 : wrapped.length !== fixedBytes) {
    const expected = fixedBytes === 0 ? 'at least 1' : `exactly ${fixedBytes}`;
    const problem = `a wrapped DEK of ${wrapped.length} bytes, wrap algorithm ${wrapAlgorithm} has ${expected}`;
    throw malformed(problem, wrappedStart, reader.where);
  }
  return { type, wrapAlgorithm, kekUri, kekVersion, wrapped };
}

/** The same bytes that readRecipients reads. */
export function encodeRecipients(recipients: readonly BlockRecipient[]): Buffer {
  const parts: Uint8Array[] = [Buffer.of(recipients.length)];
  for (const { type, wrapAlgorithm, kekUri, kekVersion, wrapped } of recipients) {
    parts.push(Buffer.of(type, wrapAlgorithm));
    for (const field of [Buffer.from(kekUri), Buffer.from(kekVersion), wrapped]) {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(field.length);
      parts.push(length, field);
    }
  }
  return Buffer.concat(parts);
}
