import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { dekctl } from '../cli/run.ts';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import { makePlace, type Place } from '../helpers/place.ts';
import { test } from '../helpers/serial.ts';

const CONTEXT = { tenant: 'acme' };

async function encrypt({ client }: Agent, text: string): Promise<Buffer> {
  const request = { key: 'default', plaintext: Buffer.from(text), encryption_context: CONTEXT };
  return (await client.call('Encrypt', request)).message.ciphertext;
}

async function decrypt({ client }: Agent, ciphertext: Buffer): Promise<string> {
  return (await client.call('Decrypt', { ciphertext, encryption_context: CONTEXT })).message.plaintext.toString();
}

async function keystore(t: ExecutionContext, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await dekctl(['keystore', ...args]);
  t.is(code, 0, stderr);
  return stdout.toString();
}

const backup = (t: ExecutionContext, { adminSocket }: Place, out: string) =>
  keystore(t, 'backup', '--out', out, '--admin-socket', adminSocket);

test('disaster: the directory is gone, the backup and the root key bring everything back', async (t) => {
  const place = makePlace(t);
  const directory = dirname(place.database);
  const out = join(place.directory, 'backup.db');
  const agent = await startAgent(t, place);
  const first = await encrypt(agent, 'first');
  await agent.admin.call('RotateKey', { key: 'default' });
  const second = await encrypt(agent, 'second');
  await backup(t, place, out);
  // The store of a running agent is checked by nobody else.
  const used = await dekctl(['keystore', 'check', '--directory', directory, '--root-key', place.rootKeyFile]);
  t.is(used.code, 6);
  t.regex(used.stderr.toString(), /another process \(an agent or dekctl\) has it open/);
  t.is(await decrypt(agent, first), 'first');
  t.is((await agent.stop()).code, 0);

  rmSync(directory, { recursive: true });
  const report = await keystore(t, 'restore', '--from', out, '--directory', directory, '--root-key', place.rootKeyFile);
  t.regex(report, /^KEK default {2}active; 1 decrypt-only, 2 active$/m);
  const next = await startAgent(t, place);
  t.is(await decrypt(next, first), 'first');
  t.is(await decrypt(next, second), 'second');
});

test('another root key: the agent starts with it and with it alone', async (t) => {
  const place = makePlace(t);
  const directory = dirname(place.database);
  const agent = await startAgent(t, place);
  const ciphertext = await encrypt(agent, 'hello');
  const passphrase = join(place.directory, 'passphrase');
  writeFileSync(passphrase, 'correct horse battery staple\n', { mode: 0o600 });
  const flags = ['--directory', directory, '--old-root-key', place.rootKeyFile, '--new-passphrase-file', passphrase];
  const used = await dekctl(['keystore', 'change-root-key', ...flags]);
  t.is(used.code, 6);
  t.is((await agent.stop()).code, 0);
  await keystore(t, 'change-root-key', ...flags);

  const store = { type: 'local', directory, root_key: { passphrase: { file: passphrase } }, durable: true };
  place.configure({ upstreams: { store } });
  const next = await startAgent(t, place);
  t.is(await decrypt(next, ciphertext), 'hello');
  t.is((await next.stop()).code, 0);
  const report = await keystore(t, 'check', '--directory', directory, '--passphrase-file', passphrase);
  t.regex(report, /sound: every record verifies, every key opens/);
});

test('a backup knows nothing of what came after it, and holds no root key', async (t) => {
  const place = makePlace(t);
  const directory = dirname(place.database);
  const out = join(place.directory, 'backup.db');
  const agent = await startAgent(t, place);
  await backup(t, place, out);
  await agent.admin.call('CreateKey', { key: 'later' });
  t.is((await agent.stop()).code, 0);
  t.false(readFileSync(out).includes(readFileSync(place.rootKeyFile)));
  const other = join(place.directory, 'other.key');
  writeFileSync(other, randomBytes(32), { mode: 0o600 });
  const wrong = await dekctl([
    ...['keystore', 'restore', '--from', out, '--directory', directory, '--root-key', other, '--replace'],
  ]);
  t.is(wrong.code, 1);
  t.regex(wrong.stderr.toString(), /this root key \(id [0-9a-f]{16}\) is not the store's/);
  const flags = ['--from', out, '--directory', directory, '--root-key', place.rootKeyFile, '--replace'];
  t.false((await keystore(t, 'restore', ...flags)).includes('KEK later'));
});
