import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import test from 'ava';
import { fakeAgent, type Request, refuse } from '../fake-agent.ts';
import { dekctl, run, temporaryDirectory } from '../run.ts';

const directory = temporaryDirectory(test);
let last: Request;
const answer = { key: 'orders', generation: 3, served_in_grace: false, outdated: true };
const agent = fakeAgent(test, {
  Encrypt: (request) => {
    last = request;
    if (request.key === 'denied') refuse(status.PERMISSION_DENIED, 'uid 1 may not use denied', 'POLICY_DENIED');
    return { ...answer, ciphertext: Buffer.from([0x64, 0xff, 0x0a]) };
  },
});

test.serial('standard input to standard output, with context and associated data', async (t) => {
  const args = ['encrypt', '--key', 'orders', '--context', 'tenant=acme', '--context', 'q=a=b', '--aad', 'row-1'];
  const result = await dekctl([...args, ...agent.flags], { input: 'hello\n' });
  t.deepEqual(result, { code: 0, stdout: Buffer.from([0x64, 0xff, 0x0a]), stderr: '' });
  t.is(last.key, 'orders');
  t.is(last.plaintext.toString(), 'hello\n');
  t.deepEqual({ ...last.encryption_context }, { tenant: 'acme', q: 'a=b' });
  t.is(last.associated_data.toString(), 'row-1');
});

test.serial('files, and sockets named by the environment', async (t) => {
  const [plain, out, aad] = ['plain', 'out', 'aad'].map((name) => join(directory, name)) as [string, string, string];
  writeFileSync(plain, Buffer.from([0, 1, 2]));
  writeFileSync(aad, Buffer.from([9]));
  const args = ['encrypt', '--key', 'orders', '--in', plain, '--out', out, '--aad-file', aad];
  const result = await dekctl(args, { env: { DEKD_SOCKET: agent.agentSocket } });
  t.deepEqual(result, { code: 0, stdout: Buffer.alloc(0), stderr: '' });
  t.deepEqual(last.plaintext, Buffer.from([0, 1, 2]));
  t.deepEqual(last.associated_data, Buffer.from([9]));
  t.deepEqual(readFileSync(out), Buffer.from([0x64, 0xff, 0x0a]));
});

test.serial('--json', async (t) => {
  const result = await dekctl(['encrypt', '--key', 'orders', '--json', ...agent.flags]);
  t.deepEqual(JSON.parse(result.stdout.toString()), { ...answer, ciphertext: 'ZP8K' });
});

test.serial("the agent's refusal is one line with its reason", async (t) => {
  const result = await dekctl(['encrypt', '--key', 'denied', ...agent.flags]);
  t.deepEqual(result, {
    code: 4,
    stdout: Buffer.alloc(0),
    stderr: 'dekctl: POLICY_DENIED: uid 1 may not use denied\n',
  });
});

test.serial('arguments that are not UTF-8 are refused', async (t) => {
  const command = `"${process.execPath}" src/cli/dekctl.ts encrypt`;
  const refused: readonly [string, RegExp][] = [
    [
      "--key orders --aad $'\\xff'",
      /^dekctl: --aad: not UTF-8; put the bytes into a file and name it with --aad-file$/m,
    ],
    ["--key $'\\xff'", /^dekctl: --key: not UTF-8$/m],
    ["--key orders --context a=$'\\xff'", /^dekctl: --context a: not UTF-8$/m],
  ];
  for (const [args, message] of refused) {
    const { code, stderr } = await run('bash', ['-c', `${command} ${args}`]);
    t.is(code, 2);
    t.regex(stderr, message);
  }
});

test.serial('--dry-run says that it would be served, and writes no ciphertext', async (t) => {
  const out = join(directory, 'dry-run');
  const args = ['encrypt', '--key', 'orders', '--out', out, '--dry-run', ...agent.flags];
  const result = await dekctl(args, { input: 'hello' });
  t.deepEqual(result, { code: 0, stdout: Buffer.from('key orders: would be served\n'), stderr: '' });
  t.true(last.dry_run);
  t.false(existsSync(out));
  const { stdout } = await dekctl([...args, '--json'], { input: 'hello' });
  t.like(JSON.parse(stdout.toString()), { key: 'orders' });
  t.is((await dekctl(['encrypt', '--key', 'denied', '--dry-run', ...agent.flags])).code, 4);
  await dekctl(['encrypt', '--key', 'orders', ...agent.flags]);
  t.false(last.dry_run);
});
