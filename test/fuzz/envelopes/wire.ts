import type { Random } from '../random.ts';
import type { Draft } from './mutate.ts';

const CAPACITY_BYTES = 1 << 20;
const scratch = Buffer.alloc(CAPACITY_BYTES);
let length = 0;

/** A DecryptRequest (proto/dekd/v1/agent.proto) in memory that the next call uses again. */
export function encodeDecrypt(draft: Draft): Buffer {
  length = 0;
  bytesField(1, draft.envelope);
  for (const [name, value] of draft.context) {
    const [key, text] = [Buffer.from(name), Buffer.from(value)];
    tag(2);
    varint(2 + varintBytes(key.length) + key.length + varintBytes(text.length) + text.length);
    bytesField(1, key, true);
    bytesField(2, text, true);
  }
  bytesField(3, draft.associatedData);
  bytesField(4, Buffer.from(draft.expectedKey));
  if (draft.dryRun) scratch.set([(5 << 3) | 0, 1], advance(2));
  return scratch.subarray(0, length);
}

/** Changes a serialised message without looking at what it says. */
export function mutateWire(message: Buffer, random: Random): Buffer {
  let bytes = Buffer.from(message);
  for (let edits = 1 + random.below(3); edits > 0; edits--) bytes = edit(bytes, random);
  return bytes;
}

function edit(bytes: Buffer<ArrayBuffer>, random: Random): Buffer<ArrayBuffer> {
  // The first bytes are tags and lengths.
  const at = random.chance(1, 2) ? random.below(Math.min(bytes.length + 1, 8)) : random.below(bytes.length + 1);
  switch (random.below(8)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([bytes, bytes.subarray(at)]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at), random.bytes(1 + random.below(6)), bytes.subarray(at)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(6))]);
    // A field that nobody knows, a group, a varint that does not end.
    case 4:
      return Buffer.concat([
        bytes,
        Buffer.from(random.pick(['fa010161', '0b0c', 'ffffffffffffffffffffff', 'a206ff']), 'hex'),
      ]);
    // A varint, if it is one, of more bytes than it needs.
    case 5: {
      const longer = Buffer.concat([
        bytes.subarray(0, at),
        lengthened(bytes.subarray(at, at + 1), 1 + random.below(9)),
      ]);
      return Buffer.concat([longer, bytes.subarray(at + 1)]);
    }
    default:
      if (at < bytes.length)
        bytes[at] = random.pick([0, 0xff, 0x80, bytes[at]! ^ (1 << random.below(8)), random.below(256)]);
      return bytes;
  }
}

/** The last byte of a varint, and as many more of the same value. */
function lengthened(last: Buffer, more: number): Buffer {
  return Buffer.concat([Buffer.from(last.map((byte) => byte | 0x80)), Buffer.alloc(more - 1, 0x80), Buffer.alloc(1)]);
}

function bytesField(field: number, bytes: Buffer, always = false): void {
  if (bytes.length === 0 && !always) return;
  tag(field);
  varint(bytes.length);
  bytes.copy(scratch, advance(bytes.length));
}

function tag(field: number): void {
  scratch[advance(1)] = (field << 3) | 2;
}

function varint(value: number): void {
  let left = value;
  for (; left >= 0x80; left >>>= 7) scratch[advance(1)] = (left & 0x7f) | 0x80;
  scratch[advance(1)] = left;
}

function varintBytes(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : 3;
}

function advance(bytes: number): number {
  length += bytes;
  if (length > CAPACITY_BYTES) throw new Error('a request longer than the fuzzer makes');
  return length - bytes;
}
