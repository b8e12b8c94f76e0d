import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { readInput } from '../../src/cli/input.ts';
import { CliError } from '../../src/cli/messages.ts';
import { dekctl, run, temporaryDirectory } from './run.ts';

const directory = temporaryDirectory(test);
const file = (name: string, bytes: Uint8Array): string => {
  const path = join(directory, name);
  writeFileSync(path, bytes);
  return path;
};

for (const length of [0, 1, 65_535, 65_536, 65_537, 300_000]) {
  test(`${length} bytes come back whole`, (t) => {
    const bytes = Buffer.alloc(length, 'abcdefg');
    t.deepEqual(readInput({ what: 'plaintext', maxBytes: 300_000, file: file(`f${length}`, bytes) }), bytes);
  });
}

test('one byte over the limit is refused with the way out', (t) => {
  const read = (what: string) => () => readInput({ what, maxBytes: 10, file: file(what, Buffer.alloc(11)) });
  const error = t.throws(read('plaintext'), { instanceOf: CliError });
  t.is(
    error.message,
    'the plaintext has more than 10 bytes; encrypt large data yourself with a key from `dekctl generate-data-key`',
  );
  t.is(error.exitCode, 2);
  t.regex(t.throws(read('ciphertext')).message, /no envelope of dekd is that long$/);
});

test('an input without end is refused at the limit', (t) => {
  t.throws(() => readInput({ what: 'plaintext', maxBytes: 100_000, file: '/dev/zero' }), { instanceOf: CliError });
});

test('files that cannot be read are named', (t) => {
  const error = t.throws(() => readInput({ what: 'plaintext', maxBytes: 10, file: '/nowhere/x' }), {
    instanceOf: CliError,
  });
  t.is(error.message, '/nowhere/x: no such file or directory');
  t.is(error.exitCode, 8);
  t.is(
    t.throws(() => readInput({ what: 'plaintext', maxBytes: 10, file: directory })).message,
    `${directory}: is a directory`,
  );
});

test('standard input over the limit of Encrypt is refused before an agent is asked', async (t) => {
  const { code, stderr, stdout } = await dekctl(['encrypt', '--key', 'k'], { input: Buffer.alloc(4_063_233) });
  t.is(code, 2);
  t.regex(stderr, /^dekctl: the plaintext has more than 4063232 bytes; encrypt large data yourself/);
  t.is(stdout.length, 0);
});

test('a terminal as standard input gets a hint', async (t) => {
  const command = `"${process.execPath}" src/cli/dekctl.ts decrypt --socket /nowhere > /dev/null`;
  const { stdout } = await run('script', ['-qec', command, '/dev/null'], { input: 'text\n\u0004' });
  t.regex(stdout.toString(), /dekctl: note: reading the ciphertext from this terminal; end it with Ctrl-D/);
});
