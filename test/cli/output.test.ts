import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { CliError } from '../../src/cli/messages.ts';
import { checkOutput, type Output, type OutputKind, writeOutput } from '../../src/cli/output.ts';
import { run, sourcePath, temporaryDirectory } from './run.ts';

const directory = temporaryDirectory(test);
const output = (kind: OutputKind, name: string, force = false): Output => ({
  what: 'plaintext',
  kind,
  file: join(directory, name),
  force,
});

test('secrets go to a new file of mode 0600, and are zeroed here', (t) => {
  const bytes = Buffer.from('secret');
  writeOutput(output('secret', 'new'), bytes);
  t.is(readFileSync(join(directory, 'new'), 'utf8'), 'secret');
  t.is(statSync(join(directory, 'new')).mode & 0o777, 0o600);
  t.deepEqual(bytes, Buffer.alloc(6));
});

test('an existing file is refused for a secret, whose bytes are zeroed all the same', (t) => {
  writeFileSync(join(directory, 'old'), 'old');
  const bytes = Buffer.from('secret');
  const error = t.throws(() => writeOutput(output('secret', 'old'), bytes), { instanceOf: CliError });
  t.is(
    error.message,
    `${join(directory, 'old')} exists; the plaintext goes to a new file only, or insist with --force`,
  );
  t.is(error.exitCode, 2);
  t.is(readFileSync(join(directory, 'old'), 'utf8'), 'old');
  t.deepEqual(bytes, Buffer.alloc(6));
});

test('--force writes over an existing file; ciphertext does anyway', (t) => {
  for (const kind of ['secret', 'binary'] as const) {
    writeFileSync(join(directory, kind), 'something longer');
    writeOutput(output(kind, kind, kind === 'secret'), Buffer.from('new'));
    t.is(readFileSync(join(directory, kind), 'utf8'), 'new');
  }
});

test('ciphertext is not zeroed: the caller may still need it', (t) => {
  const bytes = Buffer.from('public');
  writeOutput(output('binary', 'kept'), bytes);
  t.is(bytes.toString(), 'public');
});

test('a directory that is not there is named', (t) => {
  const error = t.throws(() => writeOutput(output('binary', 'no/where'), Buffer.from('x')), { instanceOf: CliError });
  t.is(error.message, `${join(directory, 'no/where')}: no such file or directory`);
  t.is(error.exitCode, 8);
});

test('a full disk is an error', (t) => {
  const full = { what: 'plaintext', kind: 'secret', file: '/dev/full', force: true } as const;
  const error = t.throws(() => writeOutput(full, Buffer.from('x')), { instanceOf: CliError });
  t.is(error.message, '/dev/full: no space left on the device');
  t.true(existsSync('/dev/full'));
});

test('text may go anywhere', (t) => {
  t.notThrows(() => checkOutput({ what: 'text', kind: 'text', file: undefined, force: false }));
});

const script = (kind: string, force: boolean) =>
  `const { writeOutput } = await import(${JSON.stringify(sourcePath('src/cli/output.ts'))});
   try { writeOutput({ what: 'data key', kind: '${kind}', file: undefined, force: ${force} }, Buffer.from('SECRET')) } catch (error) { process.stderr.write(error.message) }`;
const onTerminal = (source: string) =>
  run('script', [
    '-qec',
    `"${process.execPath}" --input-type=module -e '${source.replaceAll("'", `'\\''`)}'`,
    '/dev/null',
  ]);

test('a terminal gets no secret unless forced', async (t) => {
  const refused = (await onTerminal(script('secret', false))).stdout.toString();
  t.true(refused.includes('the data key does not go to a terminal: send it to a pipe, or to a file with --out FILE'));
  t.false(refused.includes('SECRET'));
  t.true((await onTerminal(script('secret', true))).stdout.toString().includes('SECRET'));
});

test('a terminal gets no ciphertext unless forced', async (t) => {
  const refused = (await onTerminal(script('binary', false))).stdout.toString();
  t.true(refused.includes('is bytes that a terminal cannot show'));
  t.false(refused.includes('SECRET'));
});

test('a reader that went away ends it without a word, and not with success', async (t) => {
  const source = `const { writeText } = await import(${JSON.stringify(sourcePath('src/cli/output.ts'))}); for (;;) writeText('x'.repeat(65536))`;
  const command = `{ "$0" --input-type=module -e "$1"; echo "code $?" >&2; } | head -c 1`;
  const { stderr } = await run('sh', ['-c', command, process.execPath, source]);
  t.is(stderr, 'code 8\n');
});
