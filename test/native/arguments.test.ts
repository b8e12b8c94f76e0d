import test from 'ava';
import * as binding from '../../src/crypto/native.ts';
import { createIndex, createKey } from '../../src/crypto/native.ts';
import { codeOf, codeOfJob, openTestArena } from './load-key.ts';

type Call = (...values: unknown[]) => unknown;

openTestArena();

const addon = binding as unknown as Record<string, Call>;

/** What a call throws, or with a job's promise, what that rejects with. */
function outcome(name: string, call: () => unknown): Promise<string | undefined> {
  return name.endsWith('Async') ? codeOfJob(call as () => Promise<unknown>) : Promise.resolve(codeOf(call));
}

/** Per entry point, arguments that work, and what each one is. */
function entryPoints(): Record<string, { call: Call; good: unknown[]; types: string[] }> {
  const [dek, raw] = [createKey('dek'), createKey('raw')];
  const bytes = () => Buffer.alloc(200);
  const entry = (name: keyof typeof binding, types: string, ...good: unknown[]) => [
    name,
    { call: addon[name]!, good, types: types.split(' ') },
  ];
  return Object.fromEntries([
    entry('openArena', 'object', { size: 4096, lock: 'best-effort' }),
    entry('createKey', 'kind', 'raw'),
    entry('readKey', 'number kind number', 999, 'raw', 32),
    entry('freeKey', 'number', 0),
    entry('deriveKey', 'number bytes bytes number', raw, bytes(), bytes(), 32),
    entry('hmac', 'number bytes', raw, bytes()),
    entry('hmacVerify', 'number bytes bytes', raw, bytes(), bytes()),
    entry('dekId', 'number', dek),
    entry('blockMac', 'number bytes', dek, bytes()),
    entry('blockVerify', 'number bytes bytes', dek, bytes(), bytes()),
    entry('createIndex', 'bytes', createIndex(null)),
    entry('addToIndex', 'bytes number number bytes', createIndex(null), 0, dek, bytes()),
    entry('findInIndex', 'bytes bytes number number', createIndex(null), bytes(), 8, 200),
    entry('findIdInIndex', 'bytes bytes', createIndex(null), bytes()),
    entry('removeFromIndex', 'bytes bytes', createIndex(null), bytes()),
    entry(
      'seal',
      'number number number bytes number bytes bytes number',
      dek,
      1,
      1,
      bytes(),
      200,
      bytes(),
      Buffer.alloc(300),
      5,
    ),
    entry(
      'open',
      'number number number bytes number bytes number bytes',
      dek,
      1,
      1,
      bytes(),
      200,
      bytes(),
      5,
      Buffer.alloc(300),
    ),
    entry('sealAsync', 'number number number bytes number bytes bytes', dek, 1, 1, bytes(), 200, bytes(), bytes()),
    entry('openAsync', 'number number number bytes number bytes number', dek, 1, 1, bytes(), 200, bytes(), 5),
    entry(
      'sealDataKey',
      'number number bytes number number bytes bytes number',
      dek,
      1,
      bytes(),
      200,
      32,
      bytes(),
      Buffer.alloc(300),
      5,
    ),
    entry('wrapKey', 'number number number bytes', raw, 1, dek, bytes()),
    entry('unwrapKey', 'number number bytes bytes kind', raw, 1, bytes(), bytes(), 'dek'),
    entry('cleanse', 'bytes', bytes()),
    entry('peerCredentials', 'number', 999),
    entry('lockFile', 'number', 999),
  ]);
}

function detached(): Uint8Array {
  const view = new Uint8Array(200);
  structuredClone(view.buffer, { transfer: [view.buffer] });
  return view;
}

function shrunk(): Uint8Array {
  const buffer = new ArrayBuffer(200, { maxByteLength: 400 });
  const view = new Uint8Array(buffer, 100, 100);
  buffer.resize(50);
  return view;
}

/* What is wrong whatever an argument is for. */
const never: unknown[] = [
  undefined,
  true,
  Symbol('x'),
  1n,
  () => 1,
  [],
  [1, 2],
  new Date(),
  new Map(),
  new Proxy({}, {}),
];
const wrong: Record<string, unknown[]> = {
  object: [...never.slice(0, 4), null, 1, 'x'],
  kind: [...never, null, 1, '', 'DEK', 'de', 'dek\0', 'dekx', 'raw ', 'x'.repeat(1e6), { toString: () => 'dek' }],
  number: [
    ...never,
    null,
    '1',
    NaN,
    Infinity,
    -Infinity,
    -1,
    -0.5,
    1.5,
    2 ** 53,
    1e300,
    {},
    { valueOf: () => 1 },
    Buffer.alloc(1),
  ],
  bytes: [
    ...never,
    {},
    1,
    'bytes',
    detached(),
    shrunk(),
    new ArrayBuffer(200),
    new SharedArrayBuffer(200),
    new Uint8Array(new SharedArrayBuffer(200)),
    new DataView(new ArrayBuffer(200)),
    new Int8Array(200),
    new Uint8ClampedArray(200),
    new Uint16Array(200),
    new Float64Array(200),
    new BigUint64Array(200),
    Object.create(Uint8Array.prototype),
    new Proxy(new Uint8Array(200), {}),
  ],
};

for (const [name, { call, good, types }] of Object.entries(entryPoints())) {
  test(`${name}: every argument of a wrong type is ERR_INVALID_ARG`, async (t) => {
    for (const [at, type] of types.entries()) {
      for (const value of wrong[type]!) {
        const values = good.with(at, value);
        t.is(
          await outcome(name, () => call(...values)),
          'ERR_INVALID_ARG',
          `argument ${at}: ${String(Object.prototype.toString.call(value))}`,
        );
      }
    }
  });

  test(`${name}: missing arguments are ERR_INVALID_ARG, surplus ones do no harm`, async (t) => {
    for (let count = 0; count < good.length; count++) {
      t.is(await outcome(name, () => call(...good.slice(0, count))), 'ERR_INVALID_ARG', `${count} arguments`);
    }
    t.not(await outcome(name, () => call(...good, null, {}, 1, 'x', 5, 6, 7, 8, 9)), 'ERR_INVALID_ARG');
  });
}

test('calls that take nothing take anything', (t) => {
  for (const name of ['selfTest', 'arenaStatus', 'boottimeMs'] as const) {
    t.is(
      codeOf(() => addon[name]!(Symbol('x'), null, 1n)),
      undefined,
    );
  }
});

test('offsets and lengths past the end', (t) => {
  const { seal, open, sealDataKey } = binding;
  const dek = createKey('dek');
  const b = (length: number) => Buffer.alloc(length);
  const calls: [string, () => unknown][] = [
    ['aadLength', () => seal(dek, 1, 1, b(10), 11, b(10), b(100), 0)],
    ['outOffset', () => seal(dek, 1, 1, b(10), 10, b(10), b(100), 101)],
    ['out one byte short', () => seal(dek, 1, 1, b(10), 10, b(10), b(50 + 9), 10)],
    ['outOffset near 2^53', () => seal(dek, 1, 1, b(10), 10, b(10), b(100), Number.MAX_SAFE_INTEGER)],
    ['use', () => seal(dek, 3 as 2, 1, b(10), 10, b(10), b(100), 0)],
    ['open: aadLength', () => open(dek, 1, 1, b(10), 11, b(50), 0, b(100))],
    ['open: sealedOffset', () => open(dek, 1, 1, b(10), 10, b(50), 51, b(100))],
    ['open: out short', () => open(dek, 1, 1, b(10), 10, b(50), 0, b(9))],
    ['data key: 0', () => sealDataKey(dek, 1, b(10), 10, 0, null, b(2000), 0)],
    ['data key: 1025', () => sealDataKey(dek, 1, b(10), 10, 1025, null, b(2000), 0)],
    ['data key: plaintextOut short', () => sealDataKey(dek, 1, b(10), 10, 32, b(31), b(2000), 0)],
    ['data key: out short', () => sealDataKey(dek, 1, b(10), 10, 32, null, b(71), 0)],
    ['data key: plaintextOut empty', () => sealDataKey(dek, 1, b(10), 10, 1, b(0), b(2000), 0)],
    ['readKey: 0', () => binding.readKey(0, 'raw', 0)],
    ['readKey: 129', () => binding.readKey(0, 'raw', 129)],
    ['readKey: fd', () => binding.readKey(2 ** 31, 'raw', 32)],
    ['deriveKey: 0', () => binding.deriveKey(dek, b(0), b(0), 0)],
    ['deriveKey: 129', () => binding.deriveKey(dek, b(0), b(0), 129)],
  ];
  for (const [what, call] of calls) t.is(codeOf(call), 'ERR_INVALID_ARG', what);
  t.is(seal(dek, 1, 1, b(10), 0, b(10), b(50), 0), 50, 'exactly enough is enough');
});

test('jobs: offsets and lengths past the end', async (t) => {
  const { sealAsync, openAsync } = binding;
  const dek = createKey('dek');
  const b = (length: number) => Buffer.alloc(length);
  t.is(await codeOfJob(() => sealAsync(dek, 1, 1, b(10), 11, b(10), b(0))), 'ERR_INVALID_ARG');
  t.is(await codeOfJob(() => openAsync(dek, 1, 1, b(10), 11, b(50), 0)), 'ERR_INVALID_ARG');
  t.is(await codeOfJob(() => openAsync(dek, 1, 1, b(10), 10, b(50), 51)), 'ERR_INVALID_ARG');
  t.is(
    await codeOfJob(() => openAsync(dek, 1, 1, b(10), 10, b(50), 11)),
    'ERR_AUTHENTICATION',
    'a byte short of a tag',
  );
});

test('options of openArena', (t) => {
  const open = (options: unknown) => codeOf(() => binding.openArena(options as binding.ArenaOptions));
  for (const size of [0, -1, 1.5, NaN, '4096', undefined, 2 ** 28 + 1, 2 ** 53]) {
    t.is(open({ size, lock: 'best-effort' }), 'ERR_INVALID_ARG', String(size));
  }
  for (const lock of [undefined, 'Required', 'best-effort ', '', 1]) t.is(open({ size: 1, lock }), 'ERR_INVALID_ARG');
  for (const avoidSecretMemory of [null, 1, 'true']) {
    t.is(open({ size: 1, lock: 'best-effort', avoidSecretMemory }), 'ERR_INVALID_ARG');
  }
  for (const maxSealed of [null, -1, 0.5, '5', true, 2 ** 20 + 1]) {
    t.is(open({ size: 1, lock: 'best-effort', maxSealed }), 'ERR_INVALID_ARG');
  }
  t.is(open({ size: 1, lock: 'best-effort', avoidSecretMemory: undefined, maxSealed: undefined }), undefined);
  t.throws(
    () =>
      binding.openArena({
        ...({ lock: 'required' } as object),
        get size(): number {
          throw new RangeError('mine');
        },
      } as never),
    {
      instanceOf: RangeError,
    },
  );
});

test('resizable and length-tracking views work while they are within their buffer', (t) => {
  const dek = createKey('dek');
  const buffer = new ArrayBuffer(100, { maxByteLength: 1000 });
  const out = new Uint8Array(buffer);
  const attempt = () => codeOf(() => binding.seal(dek, 1, 1, new Uint8Array(0), 0, Buffer.alloc(50), out, 0));
  t.is(attempt(), undefined);
  buffer.resize(89);
  t.is(attempt(), 'ERR_INVALID_ARG');
  buffer.resize(90);
  t.is(attempt(), undefined);
});

test('no code of the caller runs while its buffers are in use', (t) => {
  const dek = createKey('dek');
  const plaintext = new Uint8Array(1 << 20);
  let runs = 0;
  const trap = () => {
    runs++;
    structuredClone(plaintext.buffer, { transfer: [plaintext.buffer] });
    return false;
  };
  const own = Object.defineProperty(new ArrayBuffer(0), 'resizable', { get: trap });
  const inherited = Object.setPrototypeOf(new ArrayBuffer(0), new Proxy({}, { get: trap, has: trap })) as ArrayBuffer;
  for (const buffer of [own, inherited]) {
    const empty = new Uint8Array(buffer);
    Object.defineProperty(empty, 'length', { get: trap });
    t.is(
      codeOf(() => binding.seal(dek, 1, 1, empty, 0, plaintext, Buffer.alloc(2 << 20), 0)),
      undefined,
    );
    t.is(
      codeOf(() => binding.seal(dek, 1, 1, Buffer.alloc(1), 0, plaintext, empty, 0)),
      'ERR_INVALID_ARG',
    );
  }
  t.is(runs, 0);
});

test('cleanse zeroes the view and nothing beside it', (t) => {
  const buffer = Buffer.alloc(100, 7);
  binding.cleanse(buffer.subarray(10, 20));
  t.deepEqual(buffer, Buffer.concat([Buffer.alloc(10, 7), Buffer.alloc(10), Buffer.alloc(80, 7)]));
  binding.cleanse(new Uint8Array(0));
});
