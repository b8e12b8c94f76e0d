import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { installation, missing } from '../counterparts/counterpart.ts';
import { hex, vectors } from '../crypto/vectors.ts';
import { PYTHON, requirePython } from '../helpers/require-python.ts';

const TOOLS = new URL('../../tools/', import.meta.url).pathname;

const needs = {
  'unwrap_vault_transit.py': { packages: 'cryptography', type: 'vault-transit', counterpart: undefined },
  'unwrap_aws_kms.py': { packages: 'boto3 cryptography', type: 'aws-kms', counterpart: 'moto' },
  'unwrap_pkcs11.py': { packages: 'PyKCS11 cryptography', type: 'pkcs11', counterpart: 'softhsm' },
} as const;

const directory = mkdtempSync(join(tmpdir(), 'dekd-unwrap-tools-'));
test.after.always(() => rmSync(directory, { recursive: true, force: true }));

function file(name: string, content: string | Buffer): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

const inline = vectors.open.find(({ name }) => name === 'suite 1, content 1, inline')!;
const envelope = file('envelope', hex(inline.envelope));
const detached = file('detached', hex(vectors.open.find(({ name }) => name === 'first')!.envelope));
/** What is no envelope, or none that can be opened, and what is said of it. */
const FOREIGN = [
  [file('empty', ''), 'refused, malformed: not an envelope'],
  [file('text', 'hello\nworld\n'), 'refused, malformed: not an envelope'],
  [file('short', hex(inline.envelope).subarray(0, 60)), 'refused, malformed: ends early'],
  [join(directory, 'nowhere'), 'No such file or directory'],
  [directory, 'Is a directory'],
] as const;

/** One line that says why, exit code 1, and nothing that could be taken for a plaintext. */
function refuses(t: ExecutionContext, python: string, args: readonly string[], line: string): void {
  const { status, stdout, stderr } = spawnSync(python, args, { encoding: 'utf8' });
  t.deepEqual({ status, stdout, stderr }, { status: 1, stdout: '', stderr: `${line}\n` });
}

for (const [tool, { packages, type, counterpart }] of Object.entries(needs)) {
  const script = join(TOOLS, tool);

  test(`tools/${tool} has at most 40 lines`, (t) => {
    t.true(readFileSync(script, 'utf8').trimEnd().split('\n').length <= 40);
  });

  test(`tools/${tool} without its packages: one line that says which`, (t) => {
    // -S: without the packages that are installed here.
    const { status, stdout, stderr, error } = spawnSync('python3', ['-S', script, 'envelope'], { encoding: 'utf8' });
    if (error !== undefined) {
      t.log('python3 is not installed');
      t.is((error as NodeJS.ErrnoException).code, 'ENOENT');
      return;
    }
    t.is(status, 1);
    t.is(stdout, '');
    const line = new RegExp(
      `^${tool.replace('.', '\\.')}: No module named '\\w+'; it needs: pip install ${packages}\n$`,
    );
    t.regex(stderr, line);
  });

  test(`tools/${tool} refuses foreign files, and envelopes of others, with one line`, (t) => {
    const python = pythonWith(t, counterpart);
    if (python === undefined) return;
    for (const [path, line] of FOREIGN) refuses(t, python, [script, path], `${path}: ${line}`);
    refuses(t, python, [script, detached], `${detached}: its dek-block is not inside`);
    refuses(t, python, [script, envelope], `${envelope}: no recipient of type ${type}`);
  });
}

/** Undefined when it is not installed, which was said then. */
function pythonWith(t: ExecutionContext, counterpart: string | undefined): string | undefined {
  if (counterpart === undefined) return requirePython(t) ? PYTHON : undefined;
  const place = installation(counterpart);
  if (place === undefined) missing(t, counterpart);
  return place === undefined ? undefined : join(place, 'bin', 'python');
}

test('tools/open.py opens an envelope, and refuses another context, DEK or file with one line', (t) => {
  if (!requirePython(t)) return;
  const script = join(TOOLS, 'open.py');
  const dek = file('dek', hex(inline.dek));
  const data = hex(inline.associated_data).toString();
  const context = inline.context.flatMap(([key, value]) => ['--context', `${key}=${value}`]);
  const open = (path: string, ...more: string[]) => [script, path, '--dek', dek, '--associated-data', data, ...more];
  const { stdout } = spawnSync(PYTHON, open(envelope, ...context));
  t.deepEqual(stdout, hex(inline.plaintext!));

  const unauthentic = `${envelope}: refused, unauthentic: another DEK, context or associated data, or altered`;
  refuses(t, PYTHON, open(envelope), unauthentic);
  refuses(t, PYTHON, open(envelope, ...context, '--context', 'tenant=umbrella'), unauthentic);
  refuses(t, PYTHON, open(envelope, ...context, '--associated-data', 'other'), unauthentic);
  refuses(t, PYTHON, open(envelope, ...context, '--dek', file('other', Buffer.alloc(32))), unauthentic);
  for (const [path, line] of FOREIGN) refuses(t, PYTHON, open(path), `${path}: ${line}`);
  const nowhere = join(directory, 'no-dek');
  refuses(t, PYTHON, open(envelope, '--dek', nowhere), `${nowhere}: No such file or directory`);
  refuses(t, PYTHON, [script, envelope], `${envelope}: not JSON; an envelope is opened with --dek FILE`);
});
