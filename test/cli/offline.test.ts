import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { requireRoot } from '../helpers/require-root.ts';
import { run, sourcePath } from './run.ts';

const SCENE = `
const { offline } = await import(${JSON.stringify(sourcePath('src/cli/offline.ts'))});
const { DekdError } = await import(${JSON.stringify(sourcePath('src/errors.ts'))});
const { arenaStatus } = await import(${JSON.stringify(sourcePath('src/crypto/native.ts'))});
const { readFileSync } = await import('node:fs');
try {
  const work = { look: () => ({ kind: arenaStatus().kind, limits: readFileSync('/proc/self/limits', 'utf8') }),
    damage: () => { throw new DekdError('UPSTREAM_FAULT', 'is damaged'); },
    busy: () => { throw new DekdError('UPSTREAM_UNAVAILABLE', 'is busy'); },
    wrong: () => { throw new DekdError('INVALID_REQUEST', 'is wrong'); } };
  console.log(JSON.stringify({ result: offline(process.argv[1], work[process.argv[2]]) }));
} catch (error) {
  console.log(JSON.stringify({ name: error.name, message: error.message, exitCode: error.exitCode }));
}`;

/** In a process of its own: it is hardened for good. */
async function inProcess(directory: string, what: string, flags: readonly string[] = [], env = {}) {
  const args = ['--disable-warning=ExperimentalWarning', ...flags, '--input-type=module', '-e', SCENE, directory, what];
  return JSON.parse((await run(process.execPath, args, { env })).stdout.toString());
}

function makeDirectory(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-offline-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test('the work has locked memory, and no core dump can hold it', async (t) => {
  const { result } = await inProcess(makeDirectory(t), 'look');
  t.true(['memfd_secret', 'mlock'].includes(result.kind));
  t.regex(result.limits, /^Max core file size +0 +0 /m);
});

test('errors keep their text, lose their reason and have an exit code of this machine', async (t) => {
  const directory = makeDirectory(t);
  const name = 'CliError';
  t.deepEqual(await inProcess(directory, 'damage'), { name, message: 'is damaged', exitCode: 1 });
  t.deepEqual(await inProcess(directory, 'busy'), { name, message: 'is busy', exitCode: 6 });
  t.deepEqual(await inProcess(directory, 'wrong'), { name, message: 'is wrong', exitCode: 2 });
});

test('switches that open the memory are refused', async (t) => {
  const { message, exitCode } = await inProcess(makeDirectory(t), 'look', ['--report-on-signal']);
  t.is(exitCode, 1);
  t.regex(
    message,
    /^Node's switch --report-on-signal may open this process's memory, and with it the root key, to others/,
  );
  const variable = await inProcess(makeDirectory(t), 'look', [], { NODE_OPTIONS: '--no-warnings' });
  t.regex(variable.message, /^the environment variable NODE_OPTIONS may open/);
});

test('the store of another user is left to that user', async (t) => {
  if (!requireRoot(t, 'only root can give a directory away')) return;
  const directory = makeDirectory(t);
  const database = join(directory, 'keystore.db');
  writeFileSync(database, '');
  chownSync(database, 4242, 4242);
  const file = await inProcess(directory, 'look');
  t.is(file.exitCode, 2);
  t.is(
    file.message,
    `keystore ${directory}: ${database} belongs to uid 4242; run this as that user: setpriv --reuid=4242 --clear-groups dekctl keystore …`,
  );
  chownSync(directory, 4243, 4243);
  t.regex((await inProcess(directory, 'look')).message, /belongs to uid 4243/);
});
