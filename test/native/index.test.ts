import { createHash, randomBytes } from 'node:crypto';
import test from 'ava';
import {
  addToIndex,
  createIndex,
  createKey,
  findIdInIndex,
  findInIndex,
  removeFromIndex,
} from '../../src/crypto/native.ts';
import { Random } from '../fuzz/random.ts';
import { codeOf, openTestArena } from './load-key.ts';

openTestArena();
const handle = createKey('dek');

/** An index of `count` ids in its smallest size; 192 is as many as it takes. */
function filled(count: number): { index: Uint8Array; ids: Buffer[]; empty: string } {
  const index = createIndex(null);
  const empty = digest(index);
  const ids = Array.from({ length: count }, () => randomBytes(40));
  for (const [number, id] of ids.entries()) addToIndex(index, number, handle, id);
  return { index, ids, empty };
}

function digest(index: Uint8Array): string {
  return createHash('sha256').update(index).digest('hex');
}

test('an index says when it is full, and one of twice the size has what was in it', (t) => {
  const { index, ids } = filled(192);
  t.false(addToIndex(index, 192, handle, randomBytes(32)));
  const next = createIndex(index);
  t.is(next.length - index.length, 256 * 24);
  t.true(addToIndex(next, 192, handle, randomBytes(32)));
  for (const [number, id] of ids.entries()) {
    t.is(findInIndex(next, id, 0, 40), number);
    t.is(findIdInIndex(next, id), number);
  }
  t.is(findIdInIndex(next, randomBytes(32)), -1);
});

test('the bytes may lie anywhere in others, and must be all of them', (t) => {
  const { index, ids } = filled(10);
  const [id] = ids as [Buffer];
  const around = Buffer.concat([randomBytes(7), id, randomBytes(5)]);
  t.is(findInIndex(index, around, 7, 47), 0);
  for (const [start, end] of [
    [6, 46],
    [7, 46],
    [7, 48],
    [8, 47],
  ] as const)
    t.is(findInIndex(index, around, start, end), -1);
  t.is(findIdInIndex(index, id.subarray(0, 32)), 0, 'dek_id alone');
});

test('removing closes the gap, whatever lies behind it and over the end', (t) => {
  const random = new Random(3);
  for (let round = 0; round < 30; round++) {
    const { index, ids, empty } = filled(192);
    const left = new Map(ids.entries());
    while (left.size > 0) {
      const number = random.pick([...left.keys()]);
      t.is(removeFromIndex(index, left.get(number)!), number);
      t.is(removeFromIndex(index, left.get(number)!), -1);
      left.delete(number);
      const lost = [...left].filter(([other, id]) => findInIndex(index, id, 0, 40) !== other);
      if (lost.length > 0) return t.fail(`${lost.length} of ${left.size} not found any more`);
    }
    t.is(digest(index), empty, 'nothing is left of them');
  }
});

test('all bytes of the longest block count, and no more than it can have are taken', (t) => {
  const index = createIndex(null);
  const longest = randomBytes(32 + 2 + 16_384);
  t.true(addToIndex(index, 7, handle, longest));
  t.is(findInIndex(index, longest, 0, longest.length), 7);
  for (const at of [32, 5_000, longest.length - 3, longest.length - 1]) {
    const altered = Buffer.from(longest);
    altered[at]! ^= 1;
    t.is(findInIndex(index, altered, 0, altered.length), -1);
  }
  const longer = Buffer.concat([longest, Buffer.alloc(1)]);
  t.is(findInIndex(index, longer, 0, longer.length), -1);
  t.is(
    codeOf(() => addToIndex(index, 8, handle, longer)),
    'ERR_INVALID_ARG',
  );
});

test('arguments out of bounds', (t) => {
  const index = createIndex(null);
  const bytes = randomBytes(50);
  const calls: [string, () => unknown][] = [
    ['an index of another length', () => findIdInIndex(index.subarray(1), bytes)],
    ['a short one', () => findIdInIndex(new Uint8Array(64), bytes)],
    ['places that are no power of two', () => findIdInIndex(new Uint8Array(index.length + 24), bytes)],
    ['too few places', () => findIdInIndex(new Uint8Array(index.length - 128 * 24), bytes)],
    ['no index to grow', () => createIndex(bytes)],
    ['number', () => addToIndex(index, 2 ** 20, handle, bytes)],
    ['short id', () => addToIndex(index, 0, handle, bytes.subarray(0, 31))],
    ['short id', () => findIdInIndex(index, bytes.subarray(0, 31))],
    ['short id', () => removeFromIndex(index, bytes.subarray(0, 31))],
    ['start', () => findInIndex(index, bytes, 51, 51)],
    ['end', () => findInIndex(index, bytes, 0, 51)],
    ['less than an id', () => findInIndex(index, bytes, 10, 41)],
    ['end before start', () => findInIndex(index, bytes, 40, 0)],
    ['end near 2^53', () => findInIndex(index, bytes, 0, Number.MAX_SAFE_INTEGER)],
  ];
  for (const [what, call] of calls) t.is(codeOf(call), 'ERR_INVALID_ARG', what);
  t.is(
    codeOf(() => findInIndex(index, bytes, 18, 50)),
    undefined,
    'exactly an id',
  );
});

test('an index that has all its places does not grow further', (t) => {
  const length = createIndex(null).length + (2 ** 21 - 256) * 24;
  t.is(
    codeOf(() => createIndex(new Uint8Array(length))),
    'ERR_INVALID_ARG',
  );
});

test('what others wrote into an index does no harm: every call ends', (t) => {
  for (let round = 0; round < 200; round++) {
    const index = createIndex(null);
    index.set(randomBytes(index.length));
    // Full of the same, or with holes.
    if (round % 3 === 0) index.fill(1);
    if (round % 3 === 1) index.fill(0, 128 + 24 * (round % 200));
    const bytes = randomBytes(100);
    t.true(Number.isInteger(findInIndex(index, bytes, 0, 100)));
    t.true(Number.isInteger(findIdInIndex(index, bytes)));
    t.is(typeof addToIndex(index, 1, handle, bytes), 'boolean');
    t.true(Number.isInteger(removeFromIndex(index, bytes)));
    t.is(createIndex(index).length - index.length, 256 * 24);
  }
});
