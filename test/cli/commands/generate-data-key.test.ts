import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { fakeAgent, type Request } from '../fake-agent.ts';
import { dekctl, run, temporaryDirectory } from '../run.ts';

const directory = temporaryDirectory(test);
const KEY = Buffer.alloc(32, 0xa5);
let last: Request;
const agent = fakeAgent(test, {
  GenerateDataKey: (request) => {
    last = request;
    return { plaintext: KEY, ciphertext: Buffer.from('enc'), key: 'orders', generation: 0, served_in_grace: false };
  },
  GenerateDataKeyWithoutPlaintext: (request) => {
    last = request;
    return { ciphertext: Buffer.from('enc'), key: 'orders', generation: 0, served_in_grace: false };
  },
});
const generate = (...args: string[]) => dekctl(['generate-data-key', '--key', 'orders', ...args, ...agent.flags]);

test.serial('the encrypted key to a file, the clear one to a pipe', async (t) => {
  const encrypted = join(directory, 'a.enc');
  const result = await generate('--out-ciphertext', encrypted, '--bytes', '64', '--context', 'a=b', '--aad', 'x');
  t.deepEqual(result, { code: 0, stdout: KEY, stderr: '' });
  t.is(readFileSync(encrypted, 'utf8'), 'enc');
  t.is(last.number_of_bytes, 64);
  t.deepEqual({ ...last.encryption_context }, { a: 'b' });
  t.is(last.associated_data.toString(), 'x');
});

test.serial('both to files', async (t) => {
  const [encrypted, clear] = [join(directory, 'b.enc'), join(directory, 'b')];
  t.is((await generate('--out-ciphertext', encrypted, '--out', clear)).code, 0);
  t.deepEqual(readFileSync(clear), KEY);
  t.is(statSync(clear).mode & 0o777, 0o600);
});

test.serial('without the clear one', async (t) => {
  t.deepEqual(await generate('--without-plaintext'), { code: 0, stdout: Buffer.from('enc'), stderr: '' });
  const json = await generate('--without-plaintext', '--json');
  t.is(JSON.parse(json.stdout.toString()).ciphertext, 'ZW5j');
  t.false('plaintext' in JSON.parse(json.stdout.toString()));
});

test.serial('--json has both in one document', async (t) => {
  const document = JSON.parse((await generate('--json')).stdout.toString());
  t.is(document.plaintext, KEY.toString('base64'));
  t.is(document.ciphertext, 'ZW5j');
});

test.serial('a terminal is refused, in JSON too', async (t) => {
  for (const flag of ['--json', `--out-ciphertext ${join(directory, 'tty.enc')}`]) {
    const command = `"${process.execPath}" src/cli/dekctl.ts generate-data-key --key k ${flag} ${agent.flags.join(' ')}`;
    const { stdout } = await run('script', ['-qec', command, '/dev/null']);
    t.regex(stdout.toString(), /dekctl: the data key does not go to a terminal/);
  }
});

const wrong: readonly [string[], RegExp][] = [
  [[], /^dekctl: --out-ciphertext FILE is needed: the encrypted data key goes there/],
  [['--out-ciphertext', '-'], /^dekctl: --out-ciphertext FILE is needed/],
  [['--json', '--out-ciphertext', 'x'], /^dekctl: --out-ciphertext: not with --json/],
  [['--without-plaintext', '--out', 'x'], /^dekctl: --out: the clear key stays away with --without-plaintext/],
  [['--json', '--bytes', '0'], /^dekctl: --bytes 0: expected a whole number from 1 to 1024/],
  [['--json', '--bytes', '1025'], /^dekctl: --bytes 1025: expected a whole number from 1 to 1024/],
];
for (const [args, line] of wrong) {
  test.serial(`generate-data-key ${args.join(' ')} is a usage error`, async (t) => {
    const result = await generate(...args);
    t.is(result.code, 2);
    t.regex(result.stderr, line);
    t.is(result.stdout.length, 0);
  });
}

test.serial('--dry-run says that it would be served, and needs no place for a data key', async (t) => {
  const served = { code: 0, stdout: Buffer.from('key orders: would be served\n'), stderr: '' };
  t.deepEqual(await generate('--dry-run'), served);
  t.true(last.dry_run);
  t.deepEqual(await generate('--dry-run', '--without-plaintext'), served);
  t.true(last.dry_run);
  await generate('--without-plaintext');
  t.false(last.dry_run);
});
