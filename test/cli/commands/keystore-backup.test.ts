import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import test from 'ava';
import { makeStore, openPlace } from '../../upstream/local/fixture.ts';
import { fakeAgent, type Request, refuse } from '../fake-agent.ts';
import { dekctl, temporaryDirectory } from '../run.ts';

let last: Request;
let store: Buffer = Buffer.alloc(0);
const directory = temporaryDirectory(test);
const agent = fakeAgent(test, {
  BackupKeystore: (request) => {
    last = request;
    if (request.upstream === 'none')
      refuse(status.INVALID_ARGUMENT, 'upstream: "none" is no local upstream', 'INVALID_REQUEST');
    return { store };
  },
});

const backup = async (out: string, ...more: string[]) => {
  const { code, stdout, stderr } = await dekctl(['keystore', 'backup', '--out', out, ...more, ...agent.flags]);
  return { code, stdout: stdout.toString(), stderr };
};

test.serial('a new private file with what the agent sent', async (t) => {
  const place = await makeStore(t);
  const upstream = await openPlace(t, place.options);
  store = await upstream.backup();
  const out = join(directory, 'backup.db');
  const { code, stdout, stderr } = await backup(out);
  t.is(stderr, '');
  t.is(code, 0);
  t.is(stdout, `${out}: ${store.length} bytes, 2 KEKs; it opens with the root key that the store has now\n`);
  t.deepEqual(readFileSync(out), store);
  t.is(statSync(out).mode & 0o777, 0o600);
  t.is(last.upstream, '');
  t.is(Number(last.max_bytes), 64 * 2 ** 20);
  t.deepEqual(
    readdirSync(directory).filter((name) => name.startsWith('backup')),
    ['backup.db'],
  );

  const again = await backup(out);
  t.is(again.code, 2);
  t.is(again.stderr, `dekctl: ${out} exists; the backup goes to a new file only, or insist with --force\n`);
  const forced = await backup(out, '--force', '--upstream', 'store', '--json');
  t.deepEqual(JSON.parse(forced.stdout), { file: out, bytes: store.length, keks: 2 });
  t.is(last.upstream, 'store');
});

test.serial('more than gRPC takes by default', async (t) => {
  // A store may have free pages of any number.
  const place = await makeStore(t);
  const upstream = await openPlace(t, place.options);
  const sound = await upstream.backup();
  const pages = 1500;
  store = Buffer.concat([sound, Buffer.alloc(pages * 4096 - sound.length)]);
  const { code, stderr } = await backup(join(directory, 'large.db'));
  // What SQLite does not know of in its header is left alone.
  t.is(stderr, '');
  t.is(code, 0);
});

test.serial('what is no whole keystore is not kept', async (t) => {
  const place = await makeStore(t);
  const upstream = await openPlace(t, place.options);
  const sound = await upstream.backup();
  const out = join(directory, 'bad.db');
  for (const [bytes, text] of [
    [Buffer.alloc(0), /what the agent sent is no whole keystore \(.*has no store in it/],
    [
      Buffer.from('no database '.repeat(500)),
      /what the agent sent is no whole keystore \(keystore\.db .*file is not a database\)/,
    ],
    [sound.subarray(0, sound.length - 4096), /what the agent sent is no whole keystore \(keystore\.db /],
  ] as const) {
    store = Buffer.from(bytes);
    const { code, stderr, stdout } = await backup(out);
    t.is(code, 1);
    t.regex(stderr, text);
    t.is(stderr.trimEnd().split('\n').length, 1);
    t.is(stdout, '');
    t.false(existsSync(out));
  }
  t.deepEqual(
    readdirSync(directory).filter((name) => name.includes('partial')),
    [],
  );
});

test.serial('a refusal of the agent, a place that cannot be written and standard output', async (t) => {
  const out = join(directory, 'refused.db');
  const refused = await backup(out, '--upstream', 'none');
  t.is(refused.code, 2);
  t.regex(refused.stderr, /^dekctl: INVALID_REQUEST: upstream: "none" is no local upstream/);
  t.false(existsSync(out));
  const nowhere = await backup(join(directory, 'nowhere', 'x'));
  t.is(nowhere.code, 8);
  t.regex(nowhere.stderr, /no such file or directory/);
  t.regex((await backup('-')).stderr, /^dekctl: --out -: a backup goes to a file; name one\n$/);
  store = await (await openPlace(t, (await makeStore(t)).options)).backup();
  const existing = join(directory, 'taken');
  mkdirSync(existing);
  writeFileSync(join(existing, 'x'), '');
  t.is((await backup(existing, '--force')).code, 8);
});
