import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import test from 'ava';
import { fakeAgent, type Request, refuse } from '../fake-agent.ts';
import { dekctl, run, temporaryDirectory } from '../run.ts';

const directory = temporaryDirectory(test);
let last: Request;
const agent = fakeAgent(test, {
  Decrypt: (request) => {
    last = request;
    if (request.ciphertext.length === 0) refuse(status.INVALID_ARGUMENT, 'cannot be opened', 'INVALID_CIPHERTEXT');
    return { plaintext: Buffer.from('hello\n'), key: 'orders', generation: 0, served_in_grace: true, outdated: false };
  },
});

test.serial('the plaintext goes to a pipe as it is', async (t) => {
  const args = ['decrypt', '--context', 'tenant=acme', '--expected-key', 'orders', ...agent.flags];
  t.deepEqual(await dekctl(args, { input: 'c' }), { code: 0, stdout: Buffer.from('hello\n'), stderr: '' });
  t.is(last.expected_key, 'orders');
  t.deepEqual({ ...last.encryption_context }, { tenant: 'acme' });
});

test.serial('or to a new file of mode 0600, and only once', async (t) => {
  const out = join(directory, 'plain');
  const args = ['decrypt', '--out', out, ...agent.flags];
  t.is((await dekctl(args, { input: 'c' })).code, 0);
  t.is(readFileSync(out, 'utf8'), 'hello\n');
  t.is(statSync(out).mode & 0o777, 0o600);
  const again = await dekctl(args, { input: 'c' });
  t.is(again.code, 2);
  t.is(again.stderr, `dekctl: ${out} exists; the plaintext goes to a new file only, or insist with --force\n`);
  t.is((await dekctl([...args, '--force'], { input: 'c' })).code, 0);
});

test.serial('--json has it in base64', async (t) => {
  const { stdout } = await dekctl(['decrypt', '--json', ...agent.flags], { input: 'c' });
  t.deepEqual(JSON.parse(stdout.toString()), {
    plaintext: 'aGVsbG8K',
    key: 'orders',
    generation: 0,
    served_in_grace: true,
    outdated: false,
  });
});

test.serial('a terminal is refused before the agent is asked, in JSON too', async (t) => {
  last = undefined;
  for (const json of ['', '--json']) {
    const command = `"${process.execPath}" src/cli/dekctl.ts decrypt ${json} ${agent.flags.join(' ')} < /dev/null; echo "code $?"`;
    const text = (await run('script', ['-qec', command, '/dev/null'])).stdout.toString();
    t.regex(text, /dekctl: the plaintext does not go to a terminal: send it to a pipe, or to a file with --out FILE/);
    t.regex(text, /code 2/);
  }
  t.is(last, undefined);
});

test.serial('--force shows it on a terminal', async (t) => {
  const command = `echo c | "${process.execPath}" src/cli/dekctl.ts decrypt --force ${agent.flags.join(' ')}`;
  t.regex((await run('script', ['-qec', command, '/dev/null'])).stdout.toString(), /hello/);
});

test.serial('a failure leaves no file behind', async (t) => {
  const out = join(directory, 'none');
  const result = await dekctl(['decrypt', '--out', out, ...agent.flags]);
  t.is(result.stderr, 'dekctl: INVALID_CIPHERTEXT: cannot be opened\n');
  t.is(result.code, 5);
  t.false(existsSync(out));
});

test.serial('--dry-run says that it would be served, and writes no plaintext', async (t) => {
  const out = join(directory, 'dry-run');
  const args = ['decrypt', '--out', out, '--dry-run', ...agent.flags];
  const result = await dekctl(args, { input: 'c' });
  t.deepEqual(result, { code: 0, stdout: Buffer.from('key orders: would be served\n'), stderr: '' });
  t.true(last.dry_run);
  t.false(existsSync(out));
  await dekctl(['decrypt', ...agent.flags], { input: 'c' });
  t.false(last.dry_run);
});
