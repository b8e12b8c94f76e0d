import { readFileSync } from 'node:fs';
import test from 'ava';
import { dekctl } from '../run.ts';

/** The first vector of docs/envelope.md: detached, 85 bytes. */
const DETACHED = Buffer.from(
  '64656b64010101004348df81d3f8079cb6552da9a317bf7ac102c4acc7e5e02665d7c48819109bfd404142434445464748494a4b4c4d4e4f5051525354555657624d5689af939b9b01cbb420e26d88db33eb3b5662',
  'hex',
);

test('a detached envelope, for people and for programs', async (t) => {
  const { stdout, code } = await dekctl(['inspect'], { input: DETACHED });
  t.is(code, 0);
  t.is(
    stdout.toString(),
    `envelope   version 1, 85 bytes, message of 5 bytes
suite      XAES_256_GCM
dek id     4348df81d3f8079cb6552da9a317bf7ac102c4acc7e5e02665d7c48819109bfd
nonce      404142434445464748494a4b4c4d4e4f5051525354555657
dek-block  detached
verified   no: this is what the envelope claims
`,
  );
  const document = JSON.parse((await dekctl(['inspect', '--json'], { input: DETACHED })).stdout.toString());
  t.is(document.dek_id, '4348df81d3f8079cb6552da9a317bf7ac102c4acc7e5e02665d7c48819109bfd');
  t.is(document.payload_bytes, 5);
  t.is(document.dek_block, null);
  t.false(document.verified);
});

const bad: readonly [string, Buffer, RegExp][] = [
  ['nothing', Buffer.alloc(0), /^dekctl: INVALID_CIPHERTEXT: .*empty/],
  ['a text', Buffer.from('hello '.repeat(20)), /^dekctl: INVALID_CIPHERTEXT: .*not an envelope/],
  ['base64', Buffer.from(DETACHED.toString('base64')), /looks like base64, decode it first/],
  ['a cut envelope', DETACHED.subarray(0, 60), /^dekctl: INVALID_CIPHERTEXT: /],
];
for (const [name, input, line] of bad) {
  test(`${name} is one line and exit code 5`, async (t) => {
    const { code, stderr, stdout } = await dekctl(['inspect'], { input });
    t.is(code, 5);
    t.regex(stderr, line);
    t.is(stderr.trimEnd().split('\n').length, 1);
    t.is(stdout.length, 0);
  });
}

test('it asks no agent', (t) => {
  const source = readFileSync(new URL('../../../src/cli/commands/inspect.ts', import.meta.url), 'utf8');
  t.false(source.includes('client.ts'));
});
