import { randomBytes } from 'node:crypto';
import { createIndex } from '../../../src/crypto/native.ts';
import { type Case, type EntryPoint, expectEqual } from './case.ts';
import { oddView } from './hostile.ts';
import type { Model } from './model.ts';

/** Entry points of the index of DEKs. */
export const INDEX_CALLS: Readonly<Record<string, EntryPoint>> = {
  createIndex: { make: create },
  addToIndex: { make: add },
  findInIndex: { make: find },
  findIdInIndex: { make: (model) => byId(model, false) },
  removeFromIndex: { make: (model) => byId(model, true) },
};

/** A thread's index, and what must be in it. */
interface Held {
  index: Uint8Array;
  readonly entries: { readonly id: Buffer; readonly number: number }[];
}

const MAX_PLACES = 1024;
/** dek_id, length and the longest block. */
const MAX_BYTES = 32 + 2 + 16_384;
const held = new WeakMap<Model, Held>();

function heldBy(model: Model): Held {
  let mine = held.get(model);
  if (mine === undefined) {
    mine = { index: createIndex(null), entries: [] };
    held.set(model, mine);
  }
  return mine;
}

function places({ index }: Held): number {
  return 256 * 2 ** Math.round(Math.log2(index.length / 6_271));
}

function create(model: Model): Case {
  const mine = heldBy(model);
  const grows = places(mine) < MAX_PLACES && model.random.chance(1, 4);
  return {
    args: [grows ? mine.index : null],
    roles: ['bytesOrNull'],
    check: (index: Uint8Array) => {
      expectEqual(index.length, 127 + 24 * (grows ? 2 * places(mine) : 256), 'bytes of an index');
      if (grows) mine.index = index;
      // A fresh one ends the old one's entries.
      else if (model.random.chance(1, 100)) held.set(model, { index, entries: [] });
    },
  };
}

function add(model: Model): Case | undefined {
  const key = model.dek();
  if (key === undefined) return undefined;
  const mine = heldBy(model);
  const id = model.view(32 + model.length(), randomBytes(32));
  const isLong = id.length > MAX_BYTES;
  const number = model.random.below(2 ** 20);
  return {
    args: [mine.index, number, key.handle, oddView(id, model)],
    roles: ['bytes', 'number', 'id', 'bytes'],
    fails: isLong ? 'ERR_INVALID_ARG' : undefined,
    check: (isIn: boolean) => {
      expectEqual(isIn, mine.entries.length < (places(mine) / 4) * 3, 'addToIndex');
      if (isIn) mine.entries.push({ id: Buffer.from(id), number });
    },
  };
}

function find(model: Model): Case {
  const mine = heldBy(model);
  const { id, number } = anyOf(mine, model);
  const isAltered = model.random.chance(1, 3);
  const bytes = model.view(id.length, id);
  if (isAltered) bytes[model.random.below(bytes.length)]! ^= 1 << model.random.below(8);
  return {
    args: [mine.index, oddView(bytes, model), 0, bytes.length],
    roles: ['bytes', 'bytes', 'number', 'number'],
    check: (found: number) => expectEqual(found, isAltered ? -1 : number, 'findInIndex'),
  };
}

function byId(model: Model, removes: boolean): Case {
  const mine = heldBy(model);
  const entry = anyOf(mine, model);
  return {
    args: [mine.index, oddView(entry.id.subarray(0, 32 + model.random.below(entry.id.length - 31)), model)],
    roles: ['bytes', 'bytes'],
    check: (found: number) => {
      expectEqual(found, entry.number, 'a number by dek_id');
      const at = mine.entries.indexOf(entry);
      if (removes && at >= 0) mine.entries.splice(at, 1);
    },
  };
}

/** One that is in, or one that is not, with the answer that it is to get. */
function anyOf({ entries }: Held, { random }: Model): Held['entries'][number] {
  const absent = entries.length === 0 || random.chance(1, 4);
  return absent ? { id: randomBytes(32 + random.below(300)), number: -1 } : random.pick(entries);
}
