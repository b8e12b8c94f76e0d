import type { Model } from './model.ts';

/** What an argument is for. */
export type Role =
  | 'dek'
  | 'raw'
  | 'kek'
  | 'key32'
  | 'anyKey'
  | 'use'
  | 'suite'
  | 'bytes'
  | 'bytesOrNull'
  | 'number'
  /** Any safe integer that is not negative. */
  | 'id'
  /** A place in the argument before it. */
  | 'within'
  | 'kind'
  | 'fd'
  | 'options';

/** A value that an argument of that role must not have, and the code with which the call must fail. */
export interface Hostile {
  readonly value: unknown;
  readonly code: string;
}

/** How often code of the caller ran inside a call: never may. */
export const traps = { sprung: 0 };

const trap = (): never => {
  traps.sprung++;
  throw new Error('a trap was sprung');
};

const thing = { valueOf: trap, toString: trap, [Symbol.toPrimitive]: trap };
const trappedProxy = new Proxy({}, { get: trap, has: trap, getPrototypeOf: trap, ownKeys: trap });
const NEITHER = [
  undefined,
  true,
  false,
  Symbol('x'),
  1n,
  () => 1,
  [],
  [1, 2],
  new Date(),
  new Map(),
  thing,
  trappedProxy,
];
const NO_NUMBERS = [...NEITHER, null, '1', '', {}, Buffer.alloc(8), new Number(1)];
const BAD_NUMBERS = [Number.NaN, Infinity, -Infinity, -1, -0.5, 1.5, 2 ** 53, 2 ** 53 + 2, 1e300, -(2 ** 40)];
const NO_KINDS = [
  ...NEITHER,
  null,
  1,
  '',
  'DEK',
  'de',
  'dek\0',
  'dekx',
  'raw ',
  'x'.repeat(100_000),
  '\ud800',
  new String('dek'),
];
const NO_SUITES = [0, 3, 4, 5, 99, 255, 256, 257, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER];
/** Far above every limit of open files. */
const CLOSED_FDS = [2 ** 31 - 1, 2 ** 30 + 1, 900_000_001];
const BAD_FDS = [2 ** 31, 2 ** 32, 2 ** 32 + 1];

/** One of the values that `role` refuses; `valid` is what the argument would be, `previous` the one before it. */
export function hostile(role: Role, model: Model, valid: unknown, previous: unknown): Hostile {
  const { random } = model;
  const invalid = (values: readonly unknown[]): Hostile => ({ value: random.pick(values), code: 'ERR_INVALID_ARG' });
  switch (role) {
    case 'dek':
    case 'raw':
    case 'kek':
    case 'key32':
    case 'anyKey':
      return random.chance(1, 3) ? invalid([...NO_NUMBERS, ...BAD_NUMBERS]) : badHandle(role, model, valid as number);
    case 'suite':
      if (random.chance(1, 2)) return { value: random.pick(NO_SUITES), code: 'ERR_UNSUPPORTED_SUITE' };
      return invalid([...NO_NUMBERS, ...BAD_NUMBERS]);
    case 'use':
      return invalid([...NO_NUMBERS, ...BAD_NUMBERS, 3, 4, 256, 2 ** 32, 2 ** 32 + 1]);
    case 'within':
      if (random.chance(1, 2)) return invalid([lengthOf(previous) + 1 + random.below(random.pick([1, 40, 5000]))]);
      return hostile('number', model, valid, previous);
    case 'number':
      return invalid([...NO_NUMBERS, ...BAD_NUMBERS, 2 ** 52, 2 ** 40]);
    case 'id':
      return invalid([...NO_NUMBERS, ...BAD_NUMBERS]);
    case 'kind':
      return invalid(NO_KINDS);
    case 'fd':
      if (random.chance(1, 2)) return { value: random.pick(CLOSED_FDS), code: 'ERR_SYSTEM' };
      return invalid([...NO_NUMBERS, ...BAD_NUMBERS, ...BAD_FDS]);
    case 'options':
      return invalid([
        ...NEITHER.slice(0, 5),
        null,
        1,
        'x',
        {},
        { size: 4096 },
        { size: -1, lock: 'required' },
        { size: 1, lock: 1 },
      ]);
    case 'bytes':
      return invalid([...noBytes(), null]);
    case 'bytesOrNull':
      return invalid(noBytes());
  }
}

/** Without a look at the view's own properties, which may be traps. */
function lengthOf(view: unknown): number {
  const { get } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), 'length')!;
  return get!.call(view) as number;
}

/** Freed, never given out, of another generation, or of another kind. */
function badHandle(role: Role, model: Model, valid: number): Hostile {
  const { random } = model;
  const other = model.key(({ kind, length }) => !fits(role, kind, length));
  if (other !== undefined && random.chance(1, 3)) return { value: other.handle, code: 'ERR_WRONG_KIND' };
  const forged = [
    valid + 2 ** 20,
    valid - 2 ** 20,
    2 ** 52,
    2 ** 52 + (valid % 2 ** 20),
    Number.MAX_SAFE_INTEGER,
    1,
    2 ** 20 - 1,
  ];
  return { value: random.pick(random.chance(1, 2) ? model.stale : forged), code: 'ERR_STALE_HANDLE' };
}

function fits(role: Role, kind: string, length: number): boolean {
  if (role === 'anyKey') return true;
  if (role === 'raw') return kind === 'raw';
  if (role === 'dek') return kind === 'dek';
  return length === 32 && (role === 'key32' || kind === 'raw');
}

function noBytes(): unknown[] {
  return [
    ...NEITHER,
    {},
    1,
    'bytes',
    detached(),
    shrunk(),
    new Uint8Array(new ArrayBuffer(0, { maxByteLength: 10 })),
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
    new Proxy(new Uint8Array(200), { get: trap, getPrototypeOf: trap }),
  ];
}

export function detached(): Uint8Array {
  const view = new Uint8Array(200);
  detach(view);
  return view;
}

export function detach(view: Uint8Array): void {
  structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] });
}

function shrunk(): Uint8Array {
  const buffer = new ArrayBuffer(200, { maxByteLength: 400 });
  const view = new Uint8Array(buffer, 100, 100);
  buffer.resize(50);
  return view;
}

/** The same bytes in a view that is odd and must work: of a subclass, resizable, with traps beside its bytes. */
export function oddView(bytes: Buffer, model: Model): Uint8Array {
  if (bytes.length === 0) return bytes;
  switch (model.random.below(4)) {
    case 0: {
      class Sub extends Uint8Array {}
      return new Sub(bytes);
    }
    case 1: {
      const view = new Uint8Array(new ArrayBuffer(bytes.length, { maxByteLength: bytes.length + 100 }));
      view.set(bytes);
      return view;
    }
    case 2: {
      const view = new Uint8Array(bytes);
      for (const name of ['length', 'byteLength', 'byteOffset', 'buffer', 'constructor']) {
        Object.defineProperty(view, name, { get: trap });
      }
      return view;
    }
    default:
      return Object.setPrototypeOf(new Uint8Array(bytes), null) as Uint8Array;
  }
}
