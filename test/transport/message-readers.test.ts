// Two readers of the same bytes must see the same: whatever passes the message check is decoded by protobufjs into what protobuf's rules make of it,
// as a reader of its own, with none of the decoder's shortcuts, finds.
import { isDeepStrictEqual } from 'node:util';
import { loadSync, type MethodDefinition, type ServiceDefinition } from '@grpc/proto-loader';
import test from 'ava';
import { checkMessage } from '../../src/transport/message-check.ts';
import { MessageTables } from '../../src/transport/message-table.ts';
import { MalformedMessage } from '../../src/transport/transport.ts';
import { Random } from '../fuzz/random.ts';
import { type Field, MESSAGE, Reader, type Schema, wireTypeOf } from './second-reader.ts';

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
