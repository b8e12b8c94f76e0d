import { pbkdf2Sync } from 'node:crypto';

/**
 * The two blocks between a passphrase and its scrypt key (RFC 7914, section 6, with p = 1): before and after the memory-hard part. Whoever
 * finds either of them can test a passphrase with one or two HMACs.
 */
export function memoryHardBlocks(passphrase: string, salt: Uint8Array, n: number, r: number): [Buffer, Buffer] {
  const before = pbkdf2Sync(passphrase, salt, 1, 128 * r, 'sha256');
  return [before, romMix(before, n, r)];
}

function romMix(input: Buffer, n: number, r: number): Buffer {
  let block = new Uint32Array(32 * r).map((_, at) => input.readUInt32LE(4 * at));
  const table: Uint32Array[] = [];
  for (let i = 0; i < n; i++) {
    table.push(block);
    block = blockMix(block);
  }
  for (let i = 0; i < n; i++) {
    const chosen = table[block[(2 * r - 1) * 16]! & (n - 1)]!;
    block = blockMix(block.map((word, at) => word ^ chosen[at]!));
  }
  const output = Buffer.alloc(input.length);
  for (const [at, word] of block.entries()) output.writeUInt32LE(word, 4 * at);
  return output;
}

function blockMix(block: Uint32Array): Uint32Array<ArrayBuffer> {
  const mixed = new Uint32Array(block.length);
  let x = block.slice(-16);
  for (let at = 0; at < block.length / 16; at++) {
    x = salsa(x.map((word, i) => word ^ block[16 * at + i]!));
    mixed.set(x, ((at >> 1) + (at % 2) * (block.length / 32)) * 16);
  }
  return mixed;
}

const COLUMNS = [0, 4, 8, 12, 5, 9, 13, 1, 10, 14, 2, 6, 15, 3, 7, 11];
const ROWS = [0, 1, 2, 3, 5, 6, 7, 4, 10, 11, 8, 9, 15, 12, 13, 14];

function salsa(input: Uint32Array): Uint32Array<ArrayBuffer> {
  const x = Uint32Array.from(input);
  for (let round = 0; round < 8; round++) {
    const order = round % 2 === 0 ? COLUMNS : ROWS;
    for (let at = 0; at < 16; at += 4) {
      const [a, b, c, d] = order.slice(at, at + 4) as [number, number, number, number];
      x[b]! ^= rotated(x[a]! + x[d]!, 7);
      x[c]! ^= rotated(x[b]! + x[a]!, 9);
      x[d]! ^= rotated(x[c]! + x[b]!, 13);
      x[a]! ^= rotated(x[d]! + x[c]!, 18);
    }
  }
  return x.map((word, at) => word + input[at]!);
}

function rotated(word: number, bits: number): number {
  return (word << bits) | ((word >>> 0) >>> (32 - bits));
}
