import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import test from 'ava';
import { fakeAgent, type Request, refuse } from '../fake-agent.ts';
import { dekctl, temporaryDirectory } from '../run.ts';

const directory = temporaryDirectory(test);
let last: Request;
const agent = fakeAgent(test, {
  ReEncrypt: (request) => {
    last = request;
    if (request.destination_key === 'closed') refuse(status.PERMISSION_DENIED, 'uid 1 may not', 'POLICY_DENIED');
    return { ciphertext: Buffer.from([0, 255]), key: request.destination_key, source_key: 'orders' };
  },
});
const reEncrypt = (args: string[], input: string | Uint8Array = 'old') =>
  dekctl(['re-encrypt', ...args, ...agent.flags], { input });

test.serial('what it was made with and what it shall have are told apart', async (t) => {
  const aad = join(directory, 'aad');
  writeFileSync(aad, Buffer.from([1, 2]));
  const source = ['--source-context', 'tenant=acme', '--source-context', 'row=1', '--source-aad', 'was'];
  const { code, stdout, stderr } = await reEncrypt([
    '--key',
    'carts',
    ...source,
    '--context',
    'a=b',
    '--aad-file',
    aad,
  ]);
  t.deepEqual([code, stdout, stderr], [0, Buffer.from([0, 255]), '']);
  t.deepEqual(
    [{ ...last.source_encryption_context }, { ...last.destination_encryption_context }],
    [{ tenant: 'acme', row: '1' }, { a: 'b' }],
  );
  t.is(last.source_associated_data.toString(), 'was');
  t.deepEqual(last.destination_associated_data, Buffer.from([1, 2]));
  t.is(last.ciphertext.toString(), 'old');
  t.is(last.destination_key, 'carts');
});

test.serial('into a file, and as a document', async (t) => {
  const file = join(directory, 'new');
  t.is((await reEncrypt(['--key', 'carts', '--out', file])).code, 0);
  t.deepEqual(readFileSync(file), Buffer.from([0, 255]));
  const { stdout } = await reEncrypt(['--key', 'carts', '--json']);
  t.deepEqual(JSON.parse(stdout.toString()), { ciphertext: 'AP8=', key: 'carts', source_key: 'orders' });
});

test.serial('flags that contradict each other or are missing; what the agent refuses', async (t) => {
  const both = await reEncrypt(['--key', 'k', '--source-aad', 'x', '--source-aad-file', '/x']);
  t.is(both.stderr, 'dekctl: --source-aad and --source-aad-file: give one of the two\n');
  const twice = await reEncrypt(['--key', 'k', '--source-context', 'a=1', '--source-context', 'a=2']);
  t.is(twice.stderr, 'dekctl: --source-context a: given twice\n');
  t.is((await reEncrypt([])).code, 2);
  t.is((await reEncrypt(['--key', 'closed'])).code, 4);
});
