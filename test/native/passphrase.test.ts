import { spawn } from 'node:child_process';
import { createHmac, pbkdf2Sync, randomBytes, scryptSync } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { tmpdir } from 'node:os';
import test from 'ava';
import { freeKey, hmac, readPassphraseKey } from '../../src/crypto/native.ts';
import { keyNeedles, scanMemory } from '../helpers/scan-memory.ts';
import { ADDON, runChild } from './child.ts';
import { codeOf, openTestArena, withFile } from './load-key.ts';
import { memoryHardBlocks } from './memory-hard-blocks.ts';

const probe = Buffer.from('what the key is asked');
const mac = (key: Uint8Array) => createHmac('sha256', key).update(probe).digest('hex');

test.before(openTestArena);

/** A slot cannot be read: the key is told by what it answers. */
function macOf(passphrase: string | Uint8Array, salt: Uint8Array, logN: number, r: number, p: number): string {
  const handle = withFile(Buffer.from(passphrase), (fd) => readPassphraseKey(fd, salt, logN, r, p));
  const answer = hmac(handle, probe).toString('hex');
  freeKey(handle);
  return answer;
}

/* RFC 7914, section 12: the first 32 bytes of the vectors whose passphrase is long enough. */
const vectors = [
  ['password', 'NaCl', 10, 8, 16, 'fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162'],
  ['pleaseletmein', 'SodiumChloride', 14, 8, 1, '7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2'],
  ['pleaseletmein', 'SodiumChloride', 20, 8, 1, '2101cb9b6a511aaeaddbbe09cf70f881ec568d574a2ffd4dabe5ee9820adaa47'],
] as const;

for (const [passphrase, salt, logN, r, p, key] of vectors) {
  test(`readPassphraseKey: RFC 7914, section 12: N 2^${logN}, r ${r}, p ${p}`, (t) => {
    t.is(macOf(passphrase, Buffer.from(salt), logN, r, p), mac(Buffer.from(key, 'hex')));
  });
}

test("readPassphraseKey gives what OpenSSL's scrypt gives, whatever the lengths and the costs", (t) => {
  for (const r of [1, 2, 3, 5, 8, 13, 32]) {
    const passphrase = randomBytes(8 + ((r * 157) % 1016));
    passphrase[passphrase.length - 1] = 0;
    const salt = randomBytes(r * 3);
    const logN = 10 + (r % 3);
    const p = 1 + (r % 4);
    const expected = scryptSync(passphrase, salt, 32, { N: 2 ** logN, r, p, maxmem: 2 ** 30 });
    t.is(macOf(passphrase, salt, logN, r, p), mac(expected), `r ${r}, ${passphrase.length} bytes`);
  }
});

test('readPassphraseKey: 8 to 1,024 bytes, and one newline at the end is not part of them', (t) => {
  const code = (text: string) => codeOf(() => macOf(text, probe, 10, 1, 1));
  const same = (text: string, other: string) => macOf(text, probe, 10, 1, 1) === macOf(other, probe, 10, 1, 1);
  const letters = (count: number) => 'x'.repeat(count);
  for (const short of ['', '\n', letters(7), `${letters(7)}\n`]) t.is(code(short), 'ERR_KEY_LENGTH');
  for (const right of [8, 1023, 1024]) {
    t.is(code(letters(right)), undefined);
    t.true(same(letters(right), `${letters(right)}\n`), `${right}`);
  }
  t.false(same(letters(8), `${letters(8)}\n\n`));
  for (const long of [
    letters(1025),
    `${letters(1024)}\n\n`,
    `${letters(1023)}\n\n\n`,
    `${letters(1025)}\n`,
    letters(9999),
  ])
    t.is(code(long), 'ERR_KEY_LENGTH', `${long.length}`);
  t.true(same(`${letters(1023)}\n`, letters(1023)));
  t.true(same(`${letters(1023)}\n\n`, `${letters(1023)}\n\n`));
});

test('readPassphraseKey: costs out of bounds are refused before anything is read', (t) => {
  const folder = openSync(tmpdir(), 'r');
  const code = (...cost: unknown[]) =>
    codeOf(() => readPassphraseKey(folder, probe, ...(cost as [number, number, number])));
  const refused = [
    [9, 8, 1],
    [21, 8, 1],
    [10.5, 8, 1],
    ['17', 8, 1],
    [17, 0, 1],
    [17, 33, 1],
    [17, 8, 0],
    [17, 8, 17],
    [17, 8],
    [16, 1, 1],
    [20, 9, 1],
    [19, 17, 1],
  ];
  for (const cost of refused) t.is(code(...cost), 'ERR_INVALID_ARG', `${cost}`);
  for (const cost of [
    [15, 1, 1],
    [20, 8, 1],
    [18, 32, 16],
  ])
    t.is(code(...cost), 'ERR_SYSTEM', `${cost}`);
  closeSync(folder);
});

test('readPassphraseKey: a failure costs no slot, and memory that cannot be had is a system error', (t) => {
  const child = runChild(`
    native.openArena({ size: 4096, lock: 'best-effort' });
    const salt = new Uint8Array(16), empty = fs.openSync('/dev/null'), folder = fs.openSync('/');
    const codes = new Set();
    for (let i = 0; i < 50; i++) {
      codes.add(codeOf(() => native.readPassphraseKey(empty, salt, 10, 1, 1)));
      codes.add(codeOf(() => native.readPassphraseKey(folder, salt, 10, 1, 1)));
      codes.add(codeOf(() => native.readPassphraseKey(9999, salt, 10, 1, 1)));
    }
    return [[...codes], native.arenaStatus().slotsUsed];`);
  t.deepEqual(child.value, [['ERR_KEY_LENGTH', 'ERR_SYSTEM'], 0]);
});

test('after readPassphraseKey nothing is left but the key in its slot', async (t) => {
  const passphrase = 'nobody guesses this at all';
  const salt = Buffer.from('0123456789abcdef');
  const key = scryptSync(passphrase, salt, 32, { N: 1024, r: 8, p: 1 });
  const [before, after] = memoryHardBlocks(passphrase, salt, 1024, 8);
  t.deepEqual(pbkdf2Sync(passphrase, after, 1, 32, 'sha256'), key);

  const script = `const native = require(${JSON.stringify(ADDON)});
    native.openArena({ size: 4096, lock: 'best-effort', avoidSecretMemory: true });
    native.readPassphraseKey(0, Buffer.from('0123456789abcdef'), 10, 8, 1);
    console.log('ready'); setInterval(() => {}, 1000);`;
  const child = withFile(Buffer.from(passphrase), (fd) =>
    spawn(process.execPath, ['-e', script], { stdio: [fd, 'pipe', 'inherit'] }),
  );
  t.teardown(() => child.kill());
  await once(child.stdout!, 'data');
  const pieces = (name: string, block: Buffer) =>
    Array.from({ length: block.length / 32 }, (_, at) => ({
      name: `${name} at ${32 * at}`,
      bytes: block.subarray(32 * at, 32 * at + 32),
    }));
  const { findings } = scanMemory(child.pid!, [
    ...keyNeedles('passphrase', Buffer.from(passphrase)),
    ...pieces('before the memory-hard part', before),
    ...pieces('after the memory-hard part', after),
    ...keyNeedles('key', key),
  ]);
  t.deepEqual(
    findings.map(({ needle }) => needle),
    ['key, raw, first half', 'key, raw, second half'],
  );
});
