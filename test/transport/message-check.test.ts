import { join } from 'node:path';
import { loadSync, type MethodDefinition, type ServiceDefinition } from '@grpc/proto-loader';
import test from 'ava';
import { MAXIMA } from '../../src/api/batch.ts';
import { IncomingMessage } from '../../src/transport/grpc-js/incoming-message.ts';
import { checkMessage } from '../../src/transport/message-check.ts';
import { MessageTables, type Table } from '../../src/transport/message-table.ts';
import { loadProtos } from '../../src/transport/protos.ts';
import { MalformedMessage } from '../../src/transport/transport.ts';

const definitions = loadSync(join(import.meta.dirname, 'everything.proto'), {
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
});
const service = definitions['test.Everything'] as ServiceDefinition;
const method = service['Check'] as MethodDefinition<object, object>;
const table = new MessageTables(definitions).of(method.requestType);

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const FIXED32 = 5;

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return [...bytes, value];
}

function tag(number: number, wireType: number): number[] {
  return varint(number * 8 + wireType);
}

function delimited(number: number, ...content: number[]): number[] {
  return [...tag(number, DELIMITED), ...varint(content.length), ...content];
}

function utf8(text: string): number[] {
  return [...Buffer.from(text)];
}

function problem(bytes: number[]): { field: string; message: string } | undefined {
  try {
    checkMessage(table, Buffer.from(bytes));
    return undefined;
  } catch (thrown) {
    if (!(thrown instanceof MalformedMessage)) throw thrown;
    return { field: thrown.field, message: thrown.message };
  }
}

const INVALID: Record<string, number[]> = {
  'a lone continuation byte': [0x80],
  'a cut sequence': [0x61, 0xc3],
  'an overlong slash': [0xc0, 0xaf],
  'a surrogate': [0xed, 0xa0, 0x80],
  'a code point past U+10FFFF': [0xf4, 0x90, 0x80, 0x80],
  'byte ff': [0xff],
  'a bad byte at the end of a long string': [...utf8('x'.repeat(200)), 0xff],
};

for (const [name, bad] of Object.entries(INVALID)) {
  test(`${name} is refused in every string, with its path`, (t) => {
    const paths: Record<string, number[]> = {
      text: delimited(1, ...bad),
      'texts.key': delimited(3, ...delimited(1, ...bad), ...delimited(2, 0x61)),
      'texts.value': delimited(3, ...delimited(1, 0x61), ...delimited(2, ...bad)),
      'inners.value.text': delimited(4, ...delimited(1, 0x61), ...delimited(2, ...delimited(1, ...bad))),
      'lines[2]': [...delimited(5, 0x61), ...delimited(5), ...delimited(5, ...bad)],
      'parts[1].text': [...delimited(6), ...delimited(1), ...delimited(6, ...delimited(1, ...bad))],
      'inner.outer.lines[0]': delimited(7, ...delimited(2, ...delimited(5, ...bad))),
      left: delimited(14, ...bad),
      far: delimited(2000, ...bad),
    };
    for (const [field, bytes] of Object.entries(paths)) {
      t.deepEqual(problem(bytes), { field, message: 'is not valid UTF-8' });
    }
  });
}

test('valid UTF-8 of every length passes', (t) => {
  for (const text of [
    '',
    'a',
    'é',
    '€',
    '😀',
    '\u0000',
    '\uFFFD',
    '\uFEFF',
    `${'x'.repeat(47)}é`,
    `${'x'.repeat(48)}😀`,
    '\u{10FFFF}',
  ]) {
    t.is(problem(delimited(1, ...utf8(text))), undefined, JSON.stringify(text));
  }
});

test('bytes need not be UTF-8', (t) => {
  t.is(problem([...delimited(2, 0xff, 0xfe), ...delimited(15, 0x80)]), undefined);
});

test('wire garbage is refused', (t) => {
  const garbage: [number[], string, string][] = [
    [[0x80], '', 'holds an invalid field tag'],
    [[0x00], '', 'holds an invalid field tag'],
    [[0x07], '', 'holds an invalid field tag'],
    [[...varint(2 ** 32 + 10), 0], '', 'holds an invalid field tag'],
    [[0x8a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0x00], '', 'holds an invalid field tag'],
    [tag(1, DELIMITED), 'text', 'does not end where it should'],
    [[...tag(1, DELIMITED), 5, 0x61], 'text', 'does not end where it should'],
    // A length of 2^32 + 1, which a 32-bit reader takes for 1.
    [[...tag(1, DELIMITED), ...varint(2 ** 32 + 1), 0x61], 'text', 'does not end where it should'],
    [[...tag(1, VARINT), 1], 'text', 'has wire type 0 instead of 2'],
    [[...tag(1, FIXED32), 1, 2, 3, 4], 'text', 'has wire type 5 instead of 2'],
    [[...tag(2, VARINT), 1], 'data', 'has wire type 0 instead of 2'],
    [[...tag(3, FIXED64), 1, 2, 3, 4, 5, 6, 7, 8], 'texts', 'has wire type 1 instead of 2'],
    [[...tag(1, 3), ...tag(1, 4)], 'text', 'has wire type 3 instead of 2'],
    [delimited(10, 1), 'number', 'has wire type 2 instead of 0'],
    [[...tag(10, VARINT), 0x80], 'number', 'does not end where it should'],
    [[...tag(10, VARINT), ...Array(10).fill(0x80), 0], 'number', 'does not end where it should'],
    [[...tag(10, VARINT), ...Array(9).fill(0xff), 2], 'number', 'does not end where it should'],
    // More than 5 bytes of a tag, a length or a number of 32 bits; a negative one has 10, and only that.
    [[0x92, 0x80, 0x80, 0x80, 0x80, 0x00, 1, 0x61], '', 'holds an invalid field tag'],
    [[...tag(2, DELIMITED), 0x81, 0x80, 0x80, 0x80, 0x80, 0x00, 0x61], 'data', 'does not end where it should'],
    [[...tag(900, DELIMITED), 0x81, 0x80, 0x80, 0x80, 0x80, 0x00, 0x61], '', 'holds an unsound field 900'],
    [[...tag(11, VARINT), 0x81, 0x80, 0x80, 0x80, 0x80, 0x00], 'flag', 'is not a number of 32 bits'],
    [[...tag(11, VARINT), ...varint(2 ** 32)], 'flag', 'is not a number of 32 bits'],
    [[...tag(11, VARINT), ...Array(9).fill(0xff), 1], 'flag', 'is not a number of 32 bits'],
    [[...tag(8, VARINT), ...varint(2 ** 35)], 'numbers[0]', 'is not a number of 32 bits'],
    [delimited(8, 1, ...varint(2 ** 32)), 'numbers[0]', 'is not a number of 32 bits'],
    [[...tag(18, VARINT), ...Array(5).fill(0x80), 0], 'signed', 'is not a number of 32 bits'],
    [[...tag(18, VARINT), ...Array(9).fill(0x80), 1], 'signed', 'is not a number of 32 bits'],
    [[...tag(19, VARINT), ...Array(9).fill(0xff), 1], 'zigzag', 'is not a number of 32 bits'],
    [delimited(17, ...tag(1, VARINT), ...varint(2 ** 32)), 'table.key', 'is not a number of 32 bits'],
    [[...tag(12, FIXED64), 1, 2, 3], 'ratio', 'does not end where it should'],
    [[...tag(13, FIXED32), 1, 2, 3], 'word', 'does not end where it should'],
    [delimited(8, 1, 2, 0x80), 'numbers[0]', 'does not end where it should'],
    [[...delimited(8, 1), ...delimited(9, 1, 2, 3, 4, 5, 6, 7)], 'fixed[0]', 'does not end where it should'],
    [[...tag(8, FIXED32), 1, 2, 3, 4], 'numbers[0]', 'has wire type 5 instead of 0'],
    [delimited(3, ...tag(1, VARINT), 1), 'texts.key', 'has wire type 0 instead of 2'],
    [delimited(17, ...delimited(1, 1)), 'table.key', 'has wire type 2 instead of 0'],
    [delimited(7, 0x0a, 0x05), 'inner.text', 'does not end where it should'],
    [delimited(16, ...delimited(1)), 'time.seconds', 'has wire type 2 instead of 0'],
    // Unknown fields: a group, wire types 6 and 7, and one that is cut off.
    [[...tag(900, 3), ...tag(900, 4)], '', 'holds an unsound field 900'],
    [[...tag(900, 4)], '', 'holds an unsound field 900'],
    [[...tag(900, 6), 0], '', 'holds an unsound field 900'],
    [[...tag(900, 7), 0], '', 'holds an unsound field 900'],
    [[...tag(900, DELIMITED), 9], '', 'holds an unsound field 900'],
    [delimited(7, ...tag(536870911, FIXED64), 1), 'inner', 'holds an unsound field 536870911'],
  ];
  for (const [bytes, field, message] of garbage) t.deepEqual(problem(bytes), { field, message }, bytes.join(' '));
});

test('sound messages pass: unknown fields, packed and single scalars, long varints, fields twice', (t) => {
  const sound = [
    [],
    [
      ...tag(900, VARINT),
      1,
      ...tag(901, FIXED64),
      1,
      2,
      3,
      4,
      5,
      6,
      7,
      8,
      ...tag(902, FIXED32),
      1,
      2,
      3,
      4,
      ...delimited(903, 0xff),
    ],
    [...delimited(8, 1, 0x80, 1), ...tag(8, VARINT), 3, ...delimited(8)],
    [...delimited(9, ...Array(16).fill(1)), ...tag(9, FIXED64), ...Array(8).fill(1)],
    [...tag(10, VARINT), ...Array(9).fill(0xff), 1],
    // -1 and -2^31 of 32 bits, and the largest.
    [...tag(18, VARINT), ...Array(9).fill(0xff), 1],
    [...tag(18, VARINT), 0x80, 0x80, 0x80, 0x80, 0xf8, 0xff, 0xff, 0xff, 0xff, 1],
    [...tag(20, VARINT), ...Array(9).fill(0xff), 1],
    [...tag(18, VARINT), ...varint(2 ** 31 - 1), ...tag(8, VARINT), ...varint(2 ** 32 - 1)],
    [...tag(11, VARINT), 0x81, 0x80, 0x00],
    [...tag(1, DELIMITED), 0x81, 0x80, 0x00, 0x61],
    [...delimited(1, 0x61), ...delimited(1, 0x62), ...delimited(7), ...delimited(7)],
    [...tag(11, VARINT), 1, ...tag(12, FIXED64), ...Array(8).fill(0), ...tag(13, FIXED32), ...Array(4).fill(0)],
    delimited(17, ...tag(1, VARINT), 7, ...delimited(2, 0xff)),
  ];
  for (const bytes of sound) t.is(problem(bytes), undefined, bytes.join(' '));
});

test('a message has no more elements than a repeated field may have, and few other fields', (t) => {
  const entry = delimited(3, ...delimited(1, 0x61));
  const times = (count: number, ...bytes: number[]) => Array<number[]>(count).fill(bytes).flat();
  const most = [...times(64, ...entry), ...times(64, ...delimited(5)), ...times(32, ...delimited(1))];
  t.is(problem(most), undefined);
  // Of eight repeated fields one is over its limit before all of them together can be.
  const others = times(300, ...delimited(1));
  const over: [number[], string, string][] = [
    [[...times(500, ...entry), ...others], 'texts', 'has 500 entries, at most 64 are allowed'],
    [[...others, ...times(300, ...delimited(5))], 'lines', 'has 300 items, at most 64 are allowed'],
    [times(1_000, ...tag(8, VARINT), 1), 'numbers', 'has 1000 items, at most 64 are allowed'],
    [delimited(8, ...times(65, 1)), 'numbers[0]', 'has 65 items, at most 64 are allowed'],
    [times(1_000, ...delimited(1)), '', `has 1000 fields, at most ${table.maxFields} are allowed`],
    [times(1_000, ...tag(900, VARINT), 1), '', `has 1000 fields, at most ${table.maxFields} are allowed`],
    [delimited(6, ...times(40, ...delimited(1))), 'parts[0]', 'has 40 fields, at most 32 are allowed'],
    [delimited(3, ...times(33, ...delimited(1))), 'texts', 'has 33 fields, at most 32 are allowed'],
    // What comes behind the last that was counted need not be sound.
    [[...times(1_000, ...delimited(5)), 0x80], 'lines', 'has 1000 items, at most 64 are allowed'],
  ];
  for (const [bytes, field, message] of over) t.deepEqual(problem(bytes), { field, message });
});

const protos = loadProtos();
const tables = new MessageTables(protos, MAXIMA);

test('every list and map of every request has its limit', (t) => {
  const found: Record<string, number> = {};
  const collect = (path: string, { fields }: Table) => {
    for (const field of fields) {
      if (field?.repeated === true) found[`${path}.${field.name}`] = field.max;
      if (field?.table !== undefined && !field.mapEntry) collect(`${path}.${field.name}`, field.table);
    }
  };
  for (const name of ['KeyAgent', 'KeyAdmin']) {
    for (const [rpc, { requestType }] of Object.entries(protos[`dekd.v1.${name}`] as ServiceDefinition)) {
      collect(rpc, tables.of(requestType as Parameters<MessageTables['of']>[0]));
    }
  }
  t.deepEqual(found, {
    'Encrypt.encryption_context': 64,
    'Decrypt.encryption_context': 64,
    'GenerateDataKey.encryption_context': 64,
    'GenerateDataKeyWithoutPlaintext.encryption_context': 64,
    'ReEncrypt.source_encryption_context': 64,
    'ReEncrypt.destination_encryption_context': 64,
    'EncryptBatch.items': 1_000,
    'EncryptBatch.items.encryption_context': 64,
    'DecryptBatch.items': 1_000,
    'DecryptBatch.items.encryption_context': 64,
    'CreateKey.labels': 64,
    'DisablePartition.partition': 64,
    'EnablePartition.partition': 64,
    'FlushKeyring.partition': 64,
    'WarmKeyring.partition': 64,
  });
});

test('4 MiB of nothing but small fields are refused before anything is built of them', (t) => {
  const agent = protos['dekd.v1.KeyAgent'] as ServiceDefinition;
  const admin = protos['dekd.v1.KeyAdmin'] as ServiceDefinition;
  const attacks: [MethodDefinition<object, object>, number[], string, string][] = [
    [agent['EncryptBatch']!, delimited(1), 'items', 'has 2097152 items, at most 1,000 are allowed'],
    [agent['DecryptBatch']!, delimited(1), 'items', 'has 2097152 items, at most 1,000 are allowed'],
    [agent['Encrypt']!, delimited(3), 'encryption_context', 'has 2097152 entries, at most 64 are allowed'],
    [agent['Encrypt']!, delimited(1), '', 'has 2097152 fields, at most 96 are allowed'],
    [agent['Encrypt']!, [...tag(15, VARINT), 0], '', 'has 2097152 fields, at most 96 are allowed'],
    [admin['StartDrill']!, delimited(2), '', 'has 2097152 fields, at most 32 are allowed'],
    [admin['CreateKey']!, delimited(3), 'labels', 'has 2097152 entries, at most 64 are allowed'],
  ];
  for (const [{ requestType }, field, path, message] of attacks) {
    const bytes = Buffer.alloc(4 * 2 ** 20).fill(Buffer.from(field));
    const of = tables.of(requestType as Parameters<MessageTables['of']>[0]);
    const startedAt = performance.now();
    const incoming = new IncomingMessage(bytes, of, () => t.fail('nothing is decoded'));
    const refusal = t.throws(() => incoming.read(), { instanceOf: MalformedMessage, message });
    t.is(refusal?.field, path);
    // It takes some 15 ms; building all of it took 5 s and 2.5 GiB.
    t.true(performance.now() - startedAt < 1_000);
  }
});

test('nesting ends at 100 messages', (t) => {
  let bytes: number[] = [];
  for (let depth = 0; depth < 50; depth++) bytes = delimited(7, ...delimited(2, ...bytes));
  t.is(problem(bytes), undefined);
  t.is(problem(delimited(7, ...delimited(2, ...bytes)))?.message, 'is nested too deeply');
});

test('__proto__ is a map key like any other, and the last of equal keys wins', (t) => {
  const entry = (key: string, value: string) =>
    delimited(3, ...delimited(1, ...utf8(key)), ...delimited(2, ...utf8(value)));
  const bytes = Buffer.from([
    ...entry('__proto__', 'x'),
    ...entry('a', '1'),
    ...entry('a', '2'),
    ...entry('constructor', 'y'),
  ]);
  checkMessage(table, bytes);
  const message = method.requestDeserialize(bytes) as { texts: object };
  t.deepEqual(Object.entries(message.texts), [
    ['__proto__', 'x'],
    ['a', '2'],
    ['constructor', 'y'],
  ]);
});

/** mulberry32: the run can be repeated. */
function generator(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Undefined when it is refused as malformed. */
function read(incoming: IncomingMessage): unknown {
  try {
    return incoming.read();
  } catch (thrown) {
    if (thrown instanceof MalformedMessage) return undefined;
    throw thrown;
  }
}

test('mutated messages are refused as malformed, or decode without loss', (t) => {
  const seed = Number(process.env['DEKD_TEST_SEED'] ?? 20261124);
  const random = generator(seed);
  const whole = method.requestSerialize({
    text: 'Grüße 😀',
    data: Buffer.from([0xff, 0]),
    texts: { tenant: 'acme', ключ: 'значение' },
    inners: { a: { text: 'é', outer: { lines: ['x', '€'] } } },
    lines: ['one', 'zwölf'],
    parts: [{ text: 'a' }, { outer: { numbers: [1, 300] } }],
    numbers: [1, 2, 70000],
    fixed: ['1', '2'],
    number: '18446744073709551615',
    flag: true,
    ratio: 0.5,
    word: 7,
    time: { seconds: '5', nanos: 6 },
    table: { 7: Buffer.from('x') },
    signed: -1,
    zigzag: -300,
    colour: 'RED',
    long: '-1',
    flags: [true, false],
    far: 'ü',
  });
  let passed = 0;
  const rounds = 20_000;
  for (let round = 0; round < rounds; round++) {
    let bytes = Buffer.from(whole);
    for (let count = 1 + Math.floor(random() * 3); count > 0; count--) {
      bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    }
    if (random() < 0.2) bytes = bytes.subarray(0, Math.floor(random() * bytes.length));
    // Reads like the server does: the decoder may fail on what is sound but odd (a map's entry without its message).
    const message = read(new IncomingMessage(bytes, table, method.requestDeserialize));
    if (message === undefined) continue;
    passed++;
    const once = method.requestSerialize(message as object);
    const twice = method.requestSerialize(method.requestDeserialize(once));
    if (JSON.stringify(message).includes('\uFFFD') && !bytes.includes('\uFFFD')) {
      t.fail(`seed ${seed}, round ${round}: a string lost bytes`);
    }
    if (!once.equals(twice)) t.fail(`seed ${seed}, round ${round}: not the same message after a round trip`);
  }
  // Neither side of the property may be empty.
  t.true(passed > rounds / 20 && passed < rounds * 0.95, `${passed} of ${rounds} passed`);
});
