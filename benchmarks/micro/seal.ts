/**
 * One Encrypt's cryptography from JavaScript: 256 bytes with 120 bytes of associated data, under a random one of 1,000
 * keys. The addon seals with XAES-256-GCM, a nonce from the kernel, nothing left behind; the yardstick is the usual
 * node:crypto AES-256-GCM with randomBytes(12). Both in one process, round by round in turn; the ratio is of medians.
 */
import { createCipheriv, randomBytes } from 'node:crypto';
import { createKey, openArena, type SlotHandle, seal, sealDataKey, USE_MESSAGE } from '../../src/crypto/native.ts';
import { type BenchmarkResult, median, row } from '../result.ts';

const KEYS = 1_000;
const ROUNDS = 41;
const CALLS = 20_000;
const MUST_REACH = '≤ 0.3';

const aad = randomBytes(120);
const plaintext = randomBytes(256);
const out = Buffer.alloc(512);

export async function run(): Promise<BenchmarkResult> {
  openArena({ size: 1 << 20, lock: 'best-effort' });
  const handles = Array.from({ length: KEYS }, () => createKey('dek'));
  const keys = handles.map(() => randomBytes(32));
  const order = Array.from({ length: CALLS }, () => Math.floor(Math.random() * KEYS));

  const contenders: [measure: string, call: (index: number) => void][] = [
    ['node:crypto AES-256-GCM', (index) => sealWithNode(keys[index]!)],
    ['addon XAES-256-GCM', (index) => sealWithAddon(handles[index]!, 1)],
    ['addon AES-256-GCM', (index) => sealWithAddon(handles[index]!, 2)],
    ['addon data key, 32 bytes', (index) => sealDataKey(handles[index]!, 1, aad, 120, 32, plaintext, out, 0)],
  ];
  const samples = contenders.map((): number[] => []);
  for (let round = -2; round < ROUNDS; round++) {
    contenders.forEach(([, call], at) => {
      const microseconds = time(order, call);
      if (round >= 0) samples[at]!.push(microseconds);
    });
  }
  const medians = samples.map(median);
  const rows = contenders
    .slice(1)
    .map(([measure], at) => row(measure, medians[at + 1]!, medians[0]!, 'µs', at === 0 ? MUST_REACH : ''));
  return { name: 'seal 256 bytes, 120 bytes of associated data : node:crypto AES-256-GCM', rows };
}

function sealWithNode(key: Buffer): Buffer {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(aad);
  const ciphertext = cipher.update(plaintext);
  cipher.final();
  cipher.getAuthTag();
  return ciphertext;
}

function sealWithAddon(handle: SlotHandle, suite: number): number {
  return seal(handle, USE_MESSAGE, suite, aad, aad.length, plaintext, out, 0);
}

function time(order: number[], call: (index: number) => void): number {
  const start = process.hrtime.bigint();
  for (const index of order) call(index);
  return Number(process.hrtime.bigint() - start) / 1e3 / order.length;
}
