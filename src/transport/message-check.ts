/**
 * Checks a message's bytes before a lenient decoder sees them (protobuf.dev/programming-guides/encoding).
 *
 * protobufjs turns what is not UTF-8 into U+FFFD, so that two different contexts could become one; it reads a known field
 * whatever its wire type says, cuts lengths to 32 bits, and steps over 10 bytes of a tag, a length or a number of 32 bits that has more
 * than 5, so that it would go on in another place than the check. And it builds whatever it is told to: a kilobyte of memory for two
 * bytes of a message. All of that is refused here. Unknown fields pass if they are sound.
 */
import { isUtf8 } from 'node:buffer';
import { DELIMITED, FIXED32, FIXED64, type Field, type Table, VARINT } from './message-table.ts';
import { MalformedMessage } from './transport.ts';

/** protobuf's own limit for messages within messages in its official implementations. */
const MAX_DEPTH = 100;

/** Strings up to this length are scanned here; for longer ones the call into native code pays. */
const SCAN_MAX_BYTES = 48;

/** 7 bits a byte: of 32 bits and of 64. */
const VARINT32_MAX_BYTES = 5;
const VARINT64_MAX_BYTES = 10;

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
    for (let count = 1; this.#position < end; count++) {
      if (count > table.maxFields) return this.#tooMany(table, start, end);
      const fieldStart = this.#position;
      const tag = this.#varint32(end);
      // A field number is not 0.
      if (tag < 8) return { path: '', text: 'holds an invalid field tag' };
      const field = table.fields[tag >>> 3];
      const problem = field === undefined ? this.#unknown(tag, end) : this.#field(field, tag & 7, end, depth);
      if (problem !== undefined) return field === undefined ? problem : this.#within(field, problem, start, fieldStart);
    }
    return undefined;
  }

  /** Checks the value of a known field; a problem's path starts below the field. */
  #field(field: Field, wireType: number, end: number, depth: number): Problem | undefined {
    if (field.content === 'scalar') return this.#scalars(field, wireType, end);
    if (wireType !== DELIMITED) return wrongWireType(field, wireType);
    const length = this.#varint32(end);
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

  #scalars(field: Field, wireType: number, end: number): Problem | undefined {
    if (wireType === field.wireType) return this.#scalar(field, end);
    if (wireType !== DELIMITED || !field.repeated) return wrongWireType(field, wireType);
    // Packed: the values one after the other.
    const length = this.#varint32(end);
    const valueEnd = this.#position + length;
    if (length < 0 || valueEnd > end) return TRUNCATED;
    let count = 0;
    for (; this.#position < valueEnd; count++) {
      const problem = this.#scalar(field, valueEnd);
      if (problem !== undefined) return problem;
    }
    return count > field.max ? { path: '', text: tooManyText(field, count) } : undefined;
  }

  #scalar(field: Field, end: number): Problem | undefined {
    const start = this.#position;
    if (!this.#skip(field.wireType, end)) return TRUNCATED;
    if (field.varint === undefined || field.varint === '64 bits') return undefined;
    const sound = field.varint === 'int32' ? this.#isInt32(start) : this.#isUint32(start);
    return sound ? undefined : OVER_32_BITS;
  }

  /** Of the varint from `start` to the position. */
  #isUint32(start: number): boolean {
    const length = this.#position - start;
    return length < VARINT32_MAX_BYTES || (length === VARINT32_MAX_BYTES && this.#bytes[start + 4]! <= 0x0f);
  }

  /** A negative number is written with 64 bits, all above the lowest 31 set. */
  #isInt32(start: number): boolean {
    if (this.#position - start !== VARINT64_MAX_BYTES) return this.#isUint32(start);
    const bytes = this.#bytes;
    for (let at = start + 5; at < start + 9; at++) if (bytes[at] !== 0xff) return false;
    return (bytes[start + 4]! & 0x78) === 0x78;
  }

  /** Steps over a value; false when it is not whole, or its wire type is a group's or unknown. */
  #skip(wireType: number, end: number): boolean {
    if (wireType === VARINT) return this.#skipVarint(end);
    let length = -1;
    if (wireType === DELIMITED) length = this.#varint32(end);
    else if (wireType === FIXED64) length = 8;
    else if (wireType === FIXED32) length = 4;
    if (length < 0 || this.#position + length > end) return false;
    this.#position += length;
    return true;
  }

  /** A tag or a length: 32 bits in 5 bytes at most; -1 when it is none. Most have one byte. */
  #varint32(end: number): number {
    const position = this.#position;
    if (position >= end) return -1;
    const first = this.#bytes[position]!;
    if (first >= 0x80) return this.#longVarint32(first & 0x7f, end);
    this.#position = position + 1;
    return first;
  }

  #longVarint32(value: number, end: number): number {
    const bytes = this.#bytes;
    const limit = Math.min(end, this.#position + VARINT32_MAX_BYTES);
    let position = this.#position + 1;
    for (let scale = 128; position < limit; scale *= 128) {
      const byte = bytes[position++]!;
      value += (byte & 0x7f) * scale;
      if (byte >= 0x80) continue;
      this.#position = position;
      return value > 0xffffffff ? -1 : value;
    }
    return -1;
  }

  /** False when it does not end, or has more than 64 bits. */
  #skipVarint(end: number): boolean {
    const bytes = this.#bytes;
    const start = this.#position;
    const limit = Math.min(end, start + VARINT64_MAX_BYTES);
    let position = start;
    while (position < limit) {
      const byte = bytes[position++]!;
      if (byte >= 0x80) continue;
      this.#position = position;
      return position - start < VARINT64_MAX_BYTES || byte <= 1;
    }
    return false;
  }

  #isUtf8(end: number): boolean {
    const bytes = this.#bytes;
    if (end - this.#position > SCAN_MAX_BYTES) return isUtf8(bytes.subarray(this.#position, end));
    for (let position = this.#position; position < end; position++) {
      if (bytes[position]! >= 0x80) return isUtf8(bytes.subarray(position, end));
    }
    return true;
  }

  /** Says of which field the message from `start` to `end` has too many, and how many. */
  #tooMany(table: Table, start: number, end: number): Problem {
    const counts = new Float64Array(table.fields.length);
    let fields = 0;
    for (this.#position = start; this.#position < end; fields++) {
      const tag = this.#varint32(end);
      if (tag < 8 || !this.#skip(tag & 7, end)) break;
      if (tag >>> 3 < counts.length) counts[tag >>> 3]!++;
    }
    for (const [number, field] of table.fields.entries()) {
      const count = counts[number]!;
      if (field?.repeated === true && count > field.max) return { path: field.name, text: tooManyText(field, count) };
    }
    return { path: '', text: `has ${fields} fields, at most ${table.maxFields} are allowed` };
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
    const number = this.#varint32(this.#bytes.length) >>> 3;
    let count = 0;
    this.#position = start;
    while (this.#position < fieldStart) {
      const tag = this.#varint32(fieldStart);
      if (tag >>> 3 === number) count++;
      this.#skip(tag & 7, fieldStart);
    }
    return count;
  }
}

const TRUNCATED: Problem = { path: '', text: 'does not end where it should' };
const NOT_UTF8: Problem = { path: '', text: 'is not valid UTF-8' };
const OVER_32_BITS: Problem = { path: '', text: 'is not a number of 32 bits' };

function wrongWireType(field: Field, wireType: number): Problem {
  return { path: '', text: `has wire type ${wireType} instead of ${field.wireType}` };
}

function tooManyText(field: Field, count: number): string {
  return `has ${count} ${field.mapEntry ? 'entries' : 'items'}, at most ${field.max.toLocaleString('en')} are allowed`;
}
