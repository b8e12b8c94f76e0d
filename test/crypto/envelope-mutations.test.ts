/** Whatever is done to an envelope, it is refused with INVALID_CIPHERTEXT or opens to what it was: never another error, never other bytes. */
import test from 'ava';
import type { SlotHandle } from '../../src/crypto/native.ts';
import { DekdError } from '../../src/errors.ts';
import { openTestArena } from '../native/load-key.ts';
import { hex, openWhole, type Vector, vectors, withDek } from './vectors.ts';

const MUTATIONS = 20_000;
const SEED = 20_260_101;
const LONGEST = 4096;

openTestArena();

test(`${MUTATIONS} mutations`, (t) => {
  const random = generator(SEED);
  const chosen = vectors.open.filter(
    ({ envelope, plaintext }) => envelope.length / 2 <= LONGEST && plaintext !== undefined,
  );
  let refused = 0;
  let unchanged = 0;
  for (const vector of chosen) {
    const original = hex(vector.envelope);
    withDek(vector.dek, (dek) => {
      for (let count = 0; count < MUTATIONS / chosen.length; count++) {
        const mutated = mutate(original, random);
        const outcome = open(dek, vector, mutated);
        if (outcome === 'refused') refused++;
        else if (mutated.equals(original) && outcome === vector.plaintext) unchanged++;
        else t.fail(`${vector.name}: ${mutated.toString('hex')} opens to ${outcome}`);
      }
    });
  }
  t.true(refused + unchanged >= MUTATIONS);
  t.true(refused > 0.95 * MUTATIONS, `${refused} refused`);
});

/** Plaintext in hex, or `refused`; throws when the refusal is any other error than INVALID_CIPHERTEXT. */
function open(dek: SlotHandle, vector: Vector, mutated: Buffer): string {
  try {
    return openWhole(dek, mutated, new Map(vector.context), hex(vector.associated_data)).plaintext.toString('hex');
  } catch (error) {
    if (error instanceof DekdError && error.reason === 'INVALID_CIPHERTEXT') return 'refused';
    throw new Error(`${vector.name}: ${mutated.toString('hex')}`, { cause: error });
  }
}

type Random = (below: number) => number;

function mutate(original: Buffer, random: Random): Buffer {
  let bytes: Buffer = Buffer.from(original);
  const edits = 1 + random(3);
  for (let edit = 0; edit < edits; edit++) bytes = mutateOnce(bytes, random);
  return bytes;
}

function mutateOnce(bytes: Buffer, random: Random): Buffer {
  // The header, the lengths and the block come first: half of all edits go there.
  const at = random(random(2) === 0 ? Math.min(bytes.length, 120) + 1 : bytes.length + 1);
  const length = random(40);
  switch (random(7)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at), Buffer.alloc(length, random(256)), bytes.subarray(at)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at)]);
    case 4:
      bytes.fill([0, 0xff, 0x80, 0x7f][random(4)]!, at, Math.min(bytes.length, at + 1 + random(4)));
      return bytes;
    case 5:
      if (at + 2 <= bytes.length) bytes.writeUInt16BE(random(65_536), at);
      return bytes;
    default:
      if (at < bytes.length) bytes[at] = bytes[at]! ^ (1 << random(8));
      return bytes;
  }
}

/** mulberry32: the same numbers for the same seed, on every run. */
function generator(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
