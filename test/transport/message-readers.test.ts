// Two readers of the same bytes must see the same: whatever passes the message check is decoded by protobufjs into what protobuf's rules make of it,
// as a reader of its own, with none of the decoder's shortcuts, finds.
import { isDeepStrictEqual } from 'node:util';
import { loadSync, type MethodDefinition, type ServiceDefinition } from '@grpc/proto-loader';
import test from 'ava';
import { checkMessage } from '../../src/transport/message-check.ts';
import { MessageTables } from '../../src/transport/message-table.ts';
import { MalformedMessage } from '../../src/transport/transport.ts';
import { Random } from '../fuzz/random.ts';

const ROUNDS = 100_000;

const definitions = loadSync(`${import.meta.dirname}/everything.proto`, {
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
});
const service = definitions['test.Everything'] as ServiceDefinition;
const method = service['Check'] as MethodDefinition<object, object>;
const table = new MessageTables(definitions).of(method.requestType);

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
interface Field {
  readonly name: string;
  readonly type: Type | Schema;
  readonly repeated?: true;
  /** Type of the key; `type` is the value's. */
  readonly mapOf?: Type;
}

type Schema = Record<number, Field>;

const INNER: Schema = { 1: { name: 'text', type: 'string' } };
const MESSAGE: Schema = {
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

function wireTypeOf({ type, mapOf }: Field): number {
  return typeof type === 'object' || mapOf !== undefined ? 2 : (WIRE_TYPES[type] ?? 0);
}

/** The rules of protobuf.dev/programming-guides/encoding, one after the other. Throws where the bytes are no message. */
class Reader {
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

/** Writes messages in every way in which bytes may say them, and in some in which they may not. */
class Writer {
  readonly #random: Random;
  /** In how many of 100 varints more bytes than needed are. */
  readonly #longPercent: number;

  constructor(random: Random, longPercent: number) {
    this.#random = random;
    this.#longPercent = longPercent;
  }

  message(schema: Schema, depth: number): Buffer {
    const random = this.#random;
    const numbers = Object.keys(schema).map(Number);
    const fields = Array.from({ length: random.below(depth === 0 ? 8 : 4) }, () => {
      if (random.chance(1, 12)) return this.#unknown();
      const number = random.pick(numbers);
      return this.#field(number, schema[number]!, depth);
    });
    return Buffer.concat(fields);
  }

  #field(number: number, field: Field, depth: number): Buffer {
    const { type, mapOf, repeated } = field;
    if (mapOf !== undefined) {
      const key = this.#field(1, { name: 'key', type: mapOf }, depth);
      const value = this.#field(2, { name: 'value', type }, depth);
      return this.#delimited(number, Buffer.concat(this.#random.chance(1, 10) ? [value, key, value] : [key, value]));
    }
    if (typeof type === 'object') {
      return this.#delimited(number, depth > 3 ? Buffer.alloc(0) : this.message(type, depth + 1));
    }
    const wireType = wireTypeOf(field);
    if (wireType === 2) return this.#delimited(number, type === 'string' ? this.#text() : this.#bytes());
    if (repeated === true && this.#random.chance(1, 2)) {
      return this.#delimited(number, Buffer.concat([this.#scalar(wireType), this.#scalar(wireType)]));
    }
    return Buffer.concat([this.#tag(number, wireType), this.#scalar(wireType)]);
  }

  #unknown(): Buffer {
    const number = this.#random.pick([23, 900, 2 ** 29 - 1]);
    const wireType = this.#random.pick([0, 1, 2, 5]);
    if (wireType === 2) return this.#delimited(number, this.#bytes());
    return Buffer.concat([this.#tag(number, wireType), this.#scalar(wireType)]);
  }

  #delimited(number: number, content: Buffer): Buffer {
    return Buffer.concat([this.#tag(number, 2), this.#varint(BigInt(content.length)), content]);
  }

  #tag(number: number, wireType: number): Buffer {
    return this.#varint(BigInt(number * 8 + wireType));
  }

  #scalar(wireType: number): Buffer {
    const random = this.#random;
    if (wireType === 1) return random.bytes(8);
    if (wireType === 5) return random.bytes(4);
    const value = random.pick([
      0n,
      1n,
      127n,
      300n,
      2n ** 31n,
      2n ** 32n - 1n,
      2n ** 32n,
      2n ** 35n,
      2n ** 63n,
      2n ** 64n - 7n,
    ]);
    return this.#varint(random.chance(1, 2) ? value & 1n : value);
  }

  #varint(value: bigint): Buffer {
    const bytes: number[] = [];
    for (let left = value; ; left >>= 7n) {
      bytes.push(Number(left & 0x7fn));
      if (left < 0x80n) break;
    }
    if (this.#random.chance(this.#longPercent, 100)) while (this.#random.chance(4, 5)) bytes.push(0);
    return Buffer.from(bytes.map((byte, at) => (at < bytes.length - 1 ? byte | 0x80 : byte)));
  }

  #text(): Buffer {
    return Buffer.from(
      this.#random.pick(['', 'a', 'tenant', '__proto__', 'é', '€uro', '😀', '\uFEFFa', 'x'.repeat(60)]),
    );
  }

  /** Some are fields to whoever reads from a wrong place. */
  #bytes(): Buffer {
    const random = this.#random;
    if (random.chance(1, 2)) return random.bytes(random.below(12));
    return Buffer.concat([
      random.bytes(random.below(9)),
      Buffer.from('0a03fffe61', 'hex'),
      random.bytes(random.below(3)),
    ]);
  }
}

function mutated(message: Buffer, random: Random): Buffer {
  const bytes = Buffer.from(message);
  for (let count = random.below(3); count > 0 && bytes.length > 0; count--) {
    bytes[random.below(bytes.length)] = random.pick([random.below(256), 0x80, 0xff, 0]);
  }
  return random.chance(1, 10) ? bytes.subarray(0, random.below(bytes.length + 1)) : bytes;
}

function passes(bytes: Buffer): boolean {
  try {
    checkMessage(table, bytes);
    return true;
  } catch (thrown) {
    if (thrown instanceof MalformedMessage) return false;
    throw thrown;
  }
}

/** What protobufjs makes of it; undefined when it throws. */
function decoded(bytes: Buffer): object | undefined {
  try {
    return withBuffers(method.requestDeserialize(bytes));
  } catch {
    return undefined;
  }
}

/** An entry without its bytes has an empty array; dekd has no map of bytes. */
function withBuffers(message: object): object {
  for (const inner of Object.values(message)) {
    if (typeof inner === 'object' && inner !== null && !Buffer.isBuffer(inner)) withBuffers(inner);
  }
  const { table } = message as { table?: Record<string, Uint8Array> };
  for (const [key, value] of Object.entries(table ?? {})) table![key] = Buffer.from(value);
  return message;
}

/** What protobuf's rules make of it; undefined when it is no message. */
function understood(bytes: Buffer): unknown {
  try {
    return new Reader(bytes).message(MESSAGE, bytes.length);
  } catch {
    return undefined;
  }
}

test('what passes the check is decoded into what it says', (t) => {
  const seed = Number(process.env['DEKD_TEST_SEED'] ?? 20261124);
  const random = new Random(seed);
  let [passed, differ] = [0, 0];
  for (let round = 0; round < ROUNDS; round++) {
    random.reseed(seed, round);
    const bytes = mutated(new Writer(random, random.pick([0, 5, 30])).message(MESSAGE, 0), random);
    const [one, other] = [decoded(bytes), understood(bytes)];
    const same = one !== undefined && isDeepStrictEqual(one, other);
    if (!same && !(one === undefined && other === undefined)) differ++;
    if (!passes(bytes)) continue;
    passed++;
    if (same || (one === undefined && other === undefined)) continue;
    t.deepEqual(one, other, `seed ${seed}, round ${round}: ${bytes.toString('hex')}`);
    return;
  }
  t.log(`${passed} of ${ROUNDS} passed the check; protobufjs alone would have read ${differ} otherwise than protobuf`);
  // Neither side may be empty, and there must be something to be found.
  t.true(passed > ROUNDS / 10 && passed < ROUNDS * 0.9, `${passed}`);
  t.true(differ > ROUNDS / 100, `${differ}`);
});

test('what is written as protobuf writes it passes', (t) => {
  const random = new Random(1);
  for (let round = 0; round < 2_000; round++) {
    const message = decoded(mutated(new Writer(random, 0).message(MESSAGE, 0), random));
    if (message === undefined) continue;
    const bytes = method.requestSerialize(message);
    if (bytes.includes('\uFFFD')) continue;
    t.true(passes(bytes), bytes.toString('hex'));
    t.deepEqual(understood(bytes), decoded(bytes));
  }
});

test('bytes that two readers understood differently are refused', (t) => {
  const text = Buffer.from('0a0161', 'hex');
  const hidden = [
    // A truth value in 6 bytes, of which protobufjs takes 10: it goes on four bytes behind where the check did, in an unknown field.
    '58818080808000' + 'ba01070000' + '0a03fffe61',
    // The length of `data` in 6 bytes: its content begins 4 bytes later.
    '12888080808000' + '4141414141414141' + 'ba01024242',
    // A tag in 6 bytes.
    '928080808000' + '0441414141' + 'ba01024242',
    // Truth values over 32 bits, which are false to protobufjs.
    '58808080808001',
    '588080808010',
    '5880808080808080808001',
    // A number over 64 bits; an entry's key over 32.
    '50ffffffffffffffffff02',
    '8a01080880808080101200',
  ];
  for (const hex of hidden) t.false(passes(Buffer.concat([text, Buffer.from(hex, 'hex')])), hex);
});
