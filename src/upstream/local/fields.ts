import { Buffer } from 'node:buffer';

/** A column as node:sqlite gives it with big integers. The integrity check at start proves that STRICT tables hold no REAL. */
export type Field = null | bigint | string | Uint8Array;

const TAG = { null: 0, integer: 1, text: 2, blob: 3 } as const;
const HEAD_BYTES = 5;

/**
 * Fields as one byte string that no other list of fields has: u32 count | count × ( u8 tag | u32 length | bytes ), big-endian. Tags and
 * bytes: 0 null (none), 1 integer (8, two's complement), 2 text (UTF-8), 3 blob.
 */
export function encodeFields(fields: readonly Field[]): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(fields.length);
  return Buffer.concat([count, ...fields.flatMap(encodeField)]);
}

function encodeField(field: Field): Buffer[] {
  const bytes = bytesOf(field);
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt8(tagOf(field));
  head.writeUInt32BE(bytes.length, 1);
  return [head, bytes];
}

function tagOf(field: Field): number {
  if (field === null) return TAG.null;
  if (typeof field === 'bigint') return TAG.integer;
  return typeof field === 'string' ? TAG.text : TAG.blob;
}

function bytesOf(field: Field): Buffer {
  if (field === null) return Buffer.alloc(0);
  if (typeof field === 'string') return Buffer.from(field);
  if (typeof field !== 'bigint') return Buffer.from(field);
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(field);
  return bytes;
}
