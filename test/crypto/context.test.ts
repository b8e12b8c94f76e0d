import test from 'ava';
import { compareUtf8, encodeContext, encodePairs, parseContext } from '../../src/crypto/context.ts';
import { DekdError } from '../../src/errors.ts';

/** The plain way to the same bytes. */
function reference(pairs: Iterable<readonly [string, string]>): Buffer {
  const entries = [...pairs].map((pair) => pair.map((text) => Buffer.from(text)) as [Buffer, Buffer]);
  entries.sort(([left], [right]) => Buffer.compare(left, right));
  const u32 = (value: number) => Buffer.from(value.toString(16).padStart(8, '0'), 'hex');
  return Buffer.concat([
    u32(entries.length),
    ...entries.flatMap(([key, value]) => [u32(key.length), key, u32(value.length), value]),
  ]);
}

const UNITS = [
  '',
  'a',
  'b',
  '\0',
  '\x7f',
  '\x80',
  'é',
  '\u07ff',
  '\u0800',
  '\ud7ff',
  '\ue000',
  '\uff5e',
  '\uffff',
  '\u{10000}',
  '\u{1f600}',
  '\u{10ffff}',
];
const KEYS = UNITS.flatMap((first) => UNITS.flatMap((second) => [first + second, `a${first}${second}`]));

test('keys are ordered as their UTF-8 bytes are', (t) => {
  for (const left of KEYS) {
    for (const right of KEYS) {
      const expected = Buffer.compare(Buffer.from(left), Buffer.from(right));
      if (Math.sign(compareUtf8(left, right)) !== expected) t.fail(`${escape(left)} : ${escape(right)}`);
    }
  }
  t.pass();
});

test('few and many entries, in any order, ASCII or not, encode alike and come back', (t) => {
  for (const count of [0, 1, 2, 3, 8, 9, 40, 64]) {
    const keys = [...new Set(KEYS)].filter((_, index) => index % 7 === count % 7).slice(0, count);
    const pairs = keys.map((key, index) => [key, UNITS[index % UNITS.length]!.repeat(index)] as const);
    for (const order of [pairs, pairs.toReversed()]) {
      const encoded = encodeContext(new Map(order));
      t.deepEqual(encoded, reference(pairs));
      t.deepEqual([...parseContext(encoded, 'test')].sort(), [...pairs.map((pair) => [...pair])].sort());
    }
  }
});

test('__proto__ and a byte order mark are keys like any other', (t) => {
  const context = new Map([
    ['__proto__', 'x'],
    ['\ufeff', 'y'],
    ['', 'z'],
  ]);
  t.deepEqual(encodeContext(context), reference(context));
  t.deepEqual(new Map([...parseContext(encodeContext(context), 'test')].reverse()).size, 3);
  t.is(parseContext(encodeContext(context), 'test').get('__proto__'), 'x');
  t.is(parseContext(encodeContext(context), 'test').get('\ufeff'), 'y');
});

test("8,192 bytes and 64 entries are taken, more is the caller's fault", (t) => {
  t.is(encodeContext(new Map([['k', 'v'.repeat(8192 - 13)]])).length, 8192);
  t.is(encodeContext(new Map([['k', 'é'.repeat(4089)]])).length, 4 + 8 + 1 + 8178);
  const refused: [string, Map<string, string>][] = [
    ['has 65 entries', new Map(Array.from({ length: 65 }, (_, index) => [`${index}`, '']))],
    ['is longer than 8192 bytes', new Map([['k', 'v'.repeat(8192 - 12)]])],
    ['is longer than 8192 bytes', new Map([['k', 'é'.repeat(4090)]])],
    [
      'is longer than 8192 bytes',
      new Map([
        ['k', 'v'.repeat(8179)],
        ['l', ''],
      ]),
    ],
    ['is longer than 8192 bytes', new Map([['k'.repeat(100_000), '']])],
    ['holds half a surrogate pair', new Map([['k', '\ud800']]).set('x', '')],
    ['holds half a surrogate pair', new Map([['\udc00x', 'v']])],
  ].map(([problem, context]) => [`encryption_context: ${problem}`, context] as [string, Map<string, string>]);
  for (const [message, context] of refused) {
    const error = t.throws(() => encodeContext(context), { instanceOf: DekdError });
    t.is(error.reason, 'INVALID_REQUEST');
    t.true(error.message.includes(message.slice(message.indexOf(' ') + 1)), error.message);
  }
});

test('a result does not change with the next call', (t) => {
  const first = encodeContext(new Map([['a', 'b']]));
  const copy = Buffer.from(first);
  encodeContext(new Map([['c', 'd']]));
  t.deepEqual(first, copy);
});

test('a largest partition has room for the pairs of dekd', (t) => {
  const partition = new Map([['k', 'v'.repeat(8192 - 13)]]);
  const pairs = new Map([...partition, ['dekd:key', 'x'.repeat(128)], ['dekd:id', 'f'.repeat(64)]]);
  t.deepEqual(encodePairs(pairs), reference(pairs));
});

test('a reader refuses what a writer never makes', (t) => {
  const whole = encodeContext(
    new Map([
      ['a', 'b'],
      ['c', 'd'],
    ]),
  );
  for (let length = 0; length < whole.length; length++) {
    t.throws(() => parseContext(whole.subarray(0, length), 'test'), { message: /^test: ends inside/ });
  }
  const swapped = Buffer.concat([whole.subarray(0, 4), whole.subarray(14), whole.subarray(4, 14)]);
  t.throws(() => parseContext(swapped, 'test'), { message: /^test: keys are not strictly ascending \(at byte 14\)$/ });
  t.throws(() => parseContext(Buffer.concat([whole, Buffer.alloc(1)]), 'test'), { message: /1 bytes? too many/ });
  t.throws(() => parseContext(Buffer.alloc(8193), 'test'), { message: /longer than 8192/ });
});
