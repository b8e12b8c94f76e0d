// A reader of protobuf's bytes with none of a decoder's shortcuts, for test/transport/everything.proto.

type Type =
  | 'string'
  | 'bytes'
  | 'uint32'
  | 'uint64'
  | 'int32'
  | 'int64'
  | 'sint32'
  | 'bool'
  | 'enum'
  | 'double'
  | 'fixed32'
  | 'fixed64';

/** A field of test/transport/everything.proto, written down once more. */
export interface Field {
  readonly name: string;
  readonly type: Type | Schema;
  readonly repeated?: true;
  /** Type of the key; `type` is the value's. */
  readonly mapOf?: Type;
}

export type Schema = Record<number, Field>;

const INNER: Schema = { 1: { name: 'text', type: 'string' } };
export const MESSAGE: Schema = {
  1: { name: 'text', type: 'string' },
  2: { name: 'data', type: 'bytes' },
  3: { name: 'texts', type: 'string', mapOf: 'string' },
  4: { name: 'inners', type: INNER, mapOf: 'string' },
  5: { name: 'lines', type: 'string', repeated: true },
  6: { name: 'parts', type: INNER, repeated: true },
  7: { name: 'inner', type: INNER },
  8: { name: 'numbers', type: 'uint32', repeated: true },
  9: { name: 'fixed', type: 'fixed64', repeated: true },
  10: { name: 'number', type: 'uint64' },
  11: { name: 'flag', type: 'bool' },
  12: { name: 'ratio', type: 'double' },
  13: { name: 'word', type: 'fixed32' },
  14: { name: 'left', type: 'string' },
  15: { name: 'right', type: 'bytes' },
  16: {
    name: 'time',
    type: { 1: { name: 'seconds', type: 'int64' }, 2: { name: 'nanos', type: 'int32' } },
  },
  17: { name: 'table', type: 'bytes', mapOf: 'uint32' },
  18: { name: 'signed', type: 'int32' },
  19: { name: 'zigzag', type: 'sint32' },
  20: { name: 'colour', type: 'enum' },
  21: { name: 'long', type: 'int64' },
  22: { name: 'flags', type: 'bool', repeated: true },
  2000: { name: 'far', type: 'string' },
};
INNER[2] = { name: 'outer', type: MESSAGE };

const COLOURS = ['NONE', 'RED'];
const DEFAULTS: Record<Type, unknown> = {
  string: '',
  bytes: Buffer.alloc(0),
  uint32: 0,
  uint64: '0',
  int32: 0,
  int64: '0',
  sint32: 0,
  bool: false,
  enum: 'NONE',
  double: 0,
  fixed32: 0,
  fixed64: '0',
};

const WIRE_TYPES: Partial<Record<Type, number>> = { string: 2, bytes: 2, double: 1, fixed64: 1, fixed32: 5 };

export function wireTypeOf({ type, mapOf }: Field): number {
  return typeof type === 'object' || mapOf !== undefined ? 2 : (WIRE_TYPES[type] ?? 0);
}

/** The rules of protobuf.dev/programming-guides/encoding, one after the other. Throws where the bytes are no message. */
export class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  message(schema: Schema, end: number): Record<string, unknown> {
    const found = emptyMessage(schema);
    while (this.#at < end) {
      const tag = this.#varint(end);
      const [number, wireType] = [Number(tag >> 3n), Number(tag & 7n)];
      if (number === 0 || number >= 2 ** 29) throw new Error('no field number');
      const field = schema[number];
      if (field === undefined) this.#content(wireType, end);
      else this.#field(field, wireType, end, found);
    }
    return found;
  }

  #field(field: Field, wireType: number, end: number, found: Record<string, unknown>): void {
    if (field.mapOf !== undefined) {
      const entry = this.#nested(
        { 1: { name: 'key', type: field.mapOf }, 2: { name: 'value', type: field.type } },
        wireType,
        end,
      );
      if (entry['value'] === null) throw new Error('an entry without its message: not what protobuf says, and refused');
      Object.defineProperty(found[field.name], String(entry['key']), {
        value: entry['value'],
        enumerable: true,
        configurable: true,
        writable: true,
      });
    } else if (field.repeated === true && wireType === 2 && wireTypeOf(field) !== 2) {
      const packedEnd = this.#length(end);
      while (this.#at < packedEnd) (found[field.name] as unknown[]).push(this.#scalar(field.type as Type, packedEnd));
    } else if (wireType !== wireTypeOf(field)) {
      throw new Error('another wire type');
    } else {
      const value =
        typeof field.type === 'object' ? this.#nested(field.type, wireType, end) : this.#scalar(field.type, end);
      // Of what comes twice the last counts. (protobuf would merge messages; no client sends one twice.)
      if (field.repeated === true) (found[field.name] as unknown[]).push(value);
      else found[field.name] = value;
    }
  }

  #nested(schema: Schema, wireType: number, end: number): Record<string, unknown> {
    if (wireType !== 2) throw new Error('another wire type');
    return this.message(schema, this.#length(end));
  }

  #scalar(type: Type, end: number): unknown {
    switch (type) {
      case 'string':
        return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.#content(2, end));
      case 'bytes':
        return this.#content(2, end);
      case 'double':
        return this.#content(1, end).readDoubleLE();
      case 'fixed64':
        return String(this.#content(1, end).readBigUInt64LE());
      case 'fixed32':
        return this.#content(5, end).readUInt32LE();
      default:
        return NUMBERS[type](this.#varint(end));
    }
  }

  #content(wireType: number, end: number): Buffer {
    const start = this.#at;
    if (wireType === 0) this.#varint(end);
    else if (wireType === 2) return this.#take(this.#length(end) - this.#at, end);
    else if (wireType === 1 || wireType === 5) return this.#take(wireType === 1 ? 8 : 4, end);
    else throw new Error('a group, or no wire type');
    return this.#bytes.subarray(start, this.#at);
  }

  #take(length: number, end: number): Buffer {
    if (this.#at + length > end) throw new Error('cut off');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  /** Where what comes now ends. */
  #length(end: number): number {
    const length = this.#varint(end);
    if (BigInt(this.#at) + length > BigInt(end)) throw new Error('cut off');
    return this.#at + Number(length);
  }

  #varint(end: number): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (this.#at >= end) break;
      const byte = this.#bytes[this.#at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new Error('no varint');
  }
}

/** What fits into the type is that number; what does not is cut, as by a cast in C++. A truth value looks at all 64 bits. */
const NUMBERS: Record<
  Exclude<Type, 'string' | 'bytes' | 'double' | 'fixed32' | 'fixed64'>,
  (value: bigint) => unknown
> = {
  uint32: (value) => Number(BigInt.asUintN(32, value)),
  int32: (value) => Number(BigInt.asIntN(32, value)),
  sint32: (value) => {
    const cut = BigInt.asUintN(32, value);
    return Number((cut >> 1n) ^ -(cut & 1n));
  },
  enum: (value) => COLOURS[Number(BigInt.asIntN(32, value))] ?? Number(BigInt.asIntN(32, value)),
  bool: (value) => BigInt.asUintN(64, value) !== 0n,
  uint64: (value) => String(BigInt.asUintN(64, value)),
  int64: (value) => String(BigInt.asIntN(64, value)),
};

function emptyMessage(schema: Schema): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const { name, type, repeated, mapOf } of Object.values(schema)) {
    // Of a choice only what was chosen is there.
    if (name === 'left' || name === 'right') continue;
    if (mapOf !== undefined) found[name] = {};
    else if (repeated === true) found[name] = [];
    else found[name] = typeof type === 'object' ? null : DEFAULTS[type];
  }
  return found;
}
