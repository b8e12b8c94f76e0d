// What AES-256-GCM makes of a key and could leave behind, by code of our own (FIPS 197, SP 800-38D): round keys and the hash key.
import { createCipheriv } from 'node:crypto';
import type { Needle } from './scan-memory.ts';

const ROUNDS = 14;
const BLOCK_BYTES = 16;
const KEY_WORDS = 8;

const SBOX = sbox();

/** The 15 round keys of AES-256 (FIPS 197, section 5.2). The first two are the key itself. */
export function roundKeys(key: Buffer): Buffer[] {
  const words = Array.from({ length: KEY_WORDS }, (_, at) => [...key.subarray(4 * at, 4 * at + 4)]);
  let constant = 1;
  for (let at = KEY_WORDS; at < 4 * (ROUNDS + 1); at++) {
    let word = words[at - 1]!;
    if (at % KEY_WORDS === 0) {
      word = [...word.slice(1), word[0]!].map((byte) => SBOX[byte]!);
      word[0]! ^= constant;
      constant = double(constant);
    } else if (at % KEY_WORDS === 4) {
      word = word.map((byte) => SBOX[byte]!);
    }
    words.push(word.map((byte, index) => byte ^ words[at - KEY_WORDS]![index]!));
  }
  const bytes = Buffer.from(words.flat());
  return Array.from({ length: ROUNDS + 1 }, (_, at) => bytes.subarray(at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES));
}

/**
 * What to search for, of 16 bytes each: the round keys that are not the key itself, and the middle ones as the equivalent inverse cipher
 * has them (section 5.3.5); each as AES-NI and ARMv8 keep them, and with the bytes of each word turned round, as OpenSSL's portable code
 * does on little-endian machines. GCM's hash key H = AES_K(0): as it is, turned round in its halves and as a whole, and doubled, the first
 * entry of the tables for carry-less multiplication (OpenSSL, ghash-x86_64.pl, gcm_init_clmul and gcm_init_avx).
 */
export function aesNeedles(name: string, key: Buffer): Needle[] {
  const forms = new Map<string, Buffer>();
  for (const [round, roundKey] of roundKeys(key).entries()) {
    if (round > 1) forms.set(`round key ${round}`, roundKey);
    if (round > 0 && round < ROUNDS) forms.set(`round key ${round} of the inverse`, inverseMixColumns(roundKey));
  }
  for (const [form, bytes] of [...forms]) forms.set(`${form}, words turned round`, Buffer.from(bytes).swap32());
  const h = createCipheriv('aes-256-ecb', key, null).setAutoPadding(false).update(Buffer.alloc(BLOCK_BYTES));
  for (const [form, bytes] of [
    ['H', h],
    ['H doubled', doubledHashKey(h)],
  ] as const) {
    const halves = Buffer.from(bytes).swap64();
    const whole = Buffer.from(bytes).reverse();
    forms.set(form, bytes).set(`${form}, halves turned round`, halves).set(`${form}, turned round`, whole);
    forms.set(`${form}, halves exchanged`, Buffer.concat([bytes.subarray(8), bytes.subarray(0, 8)]));
  }
  return [...forms].map(([form, bytes]) => ({ name: `${name}, ${form}`, bytes }));
}

/** H as an integer, times two in the bit-reflected field of GCM. */
function doubledHashKey(h: Buffer): Buffer {
  const value = BigInt(`0x${h.toString('hex')}`) << 1n;
  const polynomial = value >> 128n === 1n ? 0xc2000000000000000000000000000001n : 0n;
  const doubled = (value & ((1n << 128n) - 1n)) ^ polynomial;
  return Buffer.from(doubled.toString(16).padStart(32, '0'), 'hex');
}

function inverseMixColumns(roundKey: Buffer): Buffer {
  const mixed = Buffer.alloc(BLOCK_BYTES);
  for (let at = 0; at < BLOCK_BYTES; at++) {
    const column = at & ~3;
    for (const [index, factor] of [14, 11, 13, 9].entries()) {
      mixed[at]! ^= multiply(factor, roundKey[column + ((at + index) & 3)]!);
    }
  }
  return mixed;
}

function double(byte: number): number {
  return ((byte << 1) ^ (byte & 0x80 ? 0x11b : 0)) & 0xff;
}

function multiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 0, power = b; bit < 8; bit++, power = double(power)) if ((a >> bit) & 1) product ^= power;
  return product;
}

/** FIPS 197, section 5.1.1: the inverse in the field, then an affine map. */
function sbox(): number[] {
  return Array.from({ length: 256 }, (_, byte) => {
    const inverse = byte === 0 ? 0 : Array.from({ length: 256 }, (_, at) => at).find((at) => multiply(byte, at) === 1)!;
    const turned = (by: number) => ((inverse << by) | (inverse >> (8 - by))) & 0xff;
    return inverse ^ turned(1) ^ turned(2) ^ turned(3) ^ turned(4) ^ 0x63;
  });
}
