import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { NewFile } from '../../src/cli/new-file.ts';

function makeDirectory(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-new-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test('whole and private under its name, and nothing beside it', (t) => {
  const directory = makeDirectory(t);
  const out = join(directory, 'backup');
  const file = new NewFile('backup', out, false);
  // The name is taken, the bytes lie elsewhere.
  t.is(statSync(out).size, 0);
  file.write(Buffer.from('content'));
  t.is(readFileSync(file.path, 'utf8'), 'content');
  t.is(statSync(out).size, 0);
  file.finish();
  file.discard();
  t.is(readFileSync(out, 'utf8'), 'content');
  t.is(statSync(out).mode & 0o777, 0o600);
  t.deepEqual(readdirSync(directory), ['backup']);
});

test('given up, it leaves nothing', (t) => {
  const directory = makeDirectory(t);
  const file = new NewFile('backup', join(directory, 'backup'), false);
  file.write(Buffer.from('content'));
  file.discard();
  t.deepEqual(readdirSync(directory), []);
});

test('a file that exists is replaced only with force, and only when all is written', (t) => {
  const directory = makeDirectory(t);
  const out = join(directory, 'backup');
  writeFileSync(out, 'old', { mode: 0o644 });
  t.throws(() => new NewFile('backup', out, false), {
    name: 'CliError',
    message: `${out} exists; the backup goes to a new file only, or insist with --force`,
  });
  t.is(readFileSync(out, 'utf8'), 'old');
  const given = new NewFile('backup', out, true);
  given.write(Buffer.from('new'));
  given.discard();
  t.is(readFileSync(out, 'utf8'), 'old');
  const file = new NewFile('backup', out, true);
  file.write(Buffer.from('new'));
  file.finish();
  t.is(readFileSync(out, 'utf8'), 'new');
  t.is(statSync(out).mode & 0o777, 0o600);
  t.deepEqual(readdirSync(directory), ['backup']);
});

test('a place that cannot be written is told with the name', (t) => {
  const directory = makeDirectory(t);
  const nowhere = join(directory, 'none', 'backup');
  t.throws(() => new NewFile('backup', nowhere, false), {
    name: 'CliError',
    message: `${nowhere}: no such file or directory`,
  });
  const out = join(directory, 'is-a-directory');
  mkdirSync(out);
  const file = new NewFile('backup', out, true);
  file.write(Buffer.from('content'));
  t.throws(() => file.finish(), { name: 'CliError', message: `${out}: is a directory` });
  file.discard();
  t.deepEqual(readdirSync(directory), ['is-a-directory']);
  t.true(existsSync(out));
});
