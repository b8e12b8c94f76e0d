/**
 * Checks a message's bytes before a lenient decoder sees them (protobuf.dev/programming-guides/encoding).
 *
 * protobufjs turns what is not UTF-8 into U+FFFD, so that two different contexts could become one; it reads a known field
 * whatever its wire type says, and cuts lengths to 32 bits. All of that is refused here. Unknown fields pass if they are sound.
 */
import { isUtf8 } from 'node:buffer';
import { DELIMITED, FIXED32, FIXED64, type Field, type Table, VARINT } from './message-table.ts';
import { MalformedMessage } from './transport.ts';

/** protobuf's own limit for messages within messages in its official implementations. */
const MAX_DEPTH = 100;

/** Strings up to this length are scanned here; for longer ones the call into native code pays. */
const SCAN_MAX_BYTES = 48;

/** A varint holds 64 bits, 7 a byte. */
const VARINT_MAX_BYTES = 10;

/** Throws MalformedMessage with the path of the first field that is wrong, e.g. `items[3].key`; an empty path is the message itself. */
export function checkMessage(table: Table, bytes: Uint8Array): void {
  const problem = new Walk(bytes).message(table, bytes.length, 0);
  if (problem !== undefined) throw new MalformedMessage(problem.path, problem.text);
}

interface Problem {
  readonly path: string;
  readonly text: string;
}

class Walk {
  readonly #bytes: Uint8Array;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Checks the fields from the position to `end`, where the message must end. */
  message(table: Table, end: number, depth: number): Problem | undefined {
    if (depth > MAX_DEPTH) return { path: '', text: 'is nested too deeply' };
    const start = this.#position;
    while (this.#position < end) {
      const fieldStart = this.#position;
      const tag = this.#varint(end);
      // A field number has at most 29 bits and is not 0.
      if (tag < 8 || tag > 0xffffffff) return { path: '', text: 'holds an invalid field tag' };
      const field = table[tag >>> 3];
      const problem = field === undefined ? this.#unknown(tag, end) : this.#field(field, tag & 7, end, depth);
      if (problem !== undefined) return field === undefined ? problem : this.#within(field, problem, start, fieldStart);
    }
    return undefined;
  }

  /** Checks the value of a known field; a problem's path starts below the field. */
  #field(field: Field, wireType: number, end: number, depth: number): Problem | undefined {
    if (field.content === 'scalar') return this.#scalar(field, wireType, end);
    if (wireType !== DELIMITED) return wrongWireType(field, wireType);
    const length = this.#varint(end);
    const valueEnd = this.#position + length;
    if (length < 0 || valueEnd > end) return TRUNCATED;
    if (field.table !== undefined) return this.message(field.table, valueEnd, depth + 1);
    if (field.content === 'string' && !this.#isUtf8(valueEnd)) return NOT_UTF8;
    this.#position = valueEnd;
    return undefined;
  }

  #unknown(tag: number, end: number): Problem | undefined {
    return this.#skip(tag & 7, end) ? undefined : { path: '', text: `holds an unsound field ${tag >>> 3}` };
  }

  #scalar(field: Field, wireType: number, end: number): Problem | undefined {
    if (wireType === field.wireType) return this.#skip(wireType, end) ? undefined : TRUNCATED;
    if (wireType !== DELIMITED || !field.repeated) return wrongWireType(field, wireType);
    // Packed: the values one after the other.
    const length = this.#varint(end);
    const valueEnd = this.#position + length;
    if (length < 0 || valueEnd > end) return TRUNCATED;
    while (this.#position < valueEnd) if (!this.#skip(field.wireType, valueEnd)) return TRUNCATED;
    return undefined;
  }

  /** Steps over a value; false when it is not whole, or its wire type is a group's or unknown. */
  #skip(wireType: number, end: number): boolean {
    if (wireType === VARINT) return this.#varint(end) >= 0;
    let length = -1;
    if (wireType === DELIMITED) length = this.#varint(end);
    else if (wireType === FIXED64) length = 8;
    else if (wireType === FIXED32) length = 4;
    if (length < 0 || this.#position + length > end) return false;
    this.#position += length;
    return true;
  }

  /** An unsigned varint, exact up to 2^53; -1 when it does not end. */
  #varint(end: number): number {
    const bytes = this.#bytes;
    let position = this.#position;
    if (position >= end) return -1;
    let byte = bytes[position++]!;
    let value = byte & 0x7f;
    const limit = Math.min(end, position + VARINT_MAX_BYTES - 1);
    for (let scale = 128; byte >= 0x80; scale *= 128) {
      if (position >= limit) return -1;
      byte = bytes[position++]!;
      value += (byte & 0x7f) * scale;
    }
    this.#position = position;
    return value;
  }

  #isUtf8(end: number): boolean {
    const bytes = this.#bytes;
    if (end - this.#position > SCAN_MAX_BYTES) return isUtf8(bytes.subarray(this.#position, end));
    for (let position = this.#position; position < end; position++) {
      if (bytes[position]! >= 0x80) return isUtf8(bytes.subarray(position, end));
    }
    return true;
  }

  /** The problem's path, begun with the field that lies at `fieldStart` in the message at `start`. */
  #within(field: Field, problem: Problem, start: number, fieldStart: number): Problem {
    const index = field.repeated && !field.mapEntry ? `[${this.#index(start, fieldStart)}]` : '';
    const rest = problem.path === '' ? '' : `.${problem.path}`;
    return { path: `${field.name}${index}${rest}`, text: problem.text };
  }

  /** How many fields with the number of the one at `fieldStart` lie between `start`, where the message begins, and it. */
  #index(start: number, fieldStart: number): number {
    this.#position = fieldStart;
    const number = this.#varint(this.#bytes.length) >>> 3;
    let count = 0;
    this.#position = start;
    while (this.#position < fieldStart) {
      const tag = this.#varint(fieldStart);
      if (tag >>> 3 === number) count++;
      this.#skip(tag & 7, fieldStart);
    }
    return count;
  }
}

const TRUNCATED: Problem = { path: '', text: 'does not end where it should' };
const NOT_UTF8: Problem = { path: '', text: 'is not valid UTF-8' };

function wrongWireType(field: Field, wireType: number): Problem {
  return { path: '', text: `has wire type ${wireType} instead of ${field.wireType}` };
}
