import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { readSecret } from '../../../../src/upstream/vault-transit/login/secret-text.ts';

function place(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-secret-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  return join(directory, 'secret');
}

test('one line, with or without an end', (t) => {
  const file = place(t);
  for (const end of ['', '\n', '\r\n']) {
    writeFileSync(file, `s.abc+/=_-.${end}`);
    t.is(readSecret('token', file), 's.abc+/=_-.');
  }
  writeFileSync(file, 'x'.repeat(16_384));
  t.is(readSecret('token', file).length, 16_384);
});

const wrong: readonly [content: string, problem: RegExp][] = [
  ['', /: is empty; write the token and nothing else into it$/],
  ['\n', /is empty/],
  ['s.abc\n\n', /is not one line of printable ASCII without spaces/],
  ['s.abc def', /is not one line/],
  ['s.abc\u0000', /is not one line/],
  ['s.äbc', /is not one line/],
  ['s.abc\r\nx-header: y', /is not one line/],
  ['x'.repeat(16_385), /has more than 16384 bytes/],
];
for (const [content, message] of wrong) {
  test(`refused: ${JSON.stringify(content.slice(0, 30))} of ${content.length}`, (t) => {
    const file = place(t);
    writeFileSync(file, content);
    const error = t.throws(() => readSecret('token', file), { name: 'DekdError', message });
    t.true(error?.message.startsWith(`token ${file}: `));
    if (content.includes('abc')) t.false(error?.message.includes('abc'));
  });
}

test('what is no file that can be read', (t) => {
  const file = place(t);
  t.throws(() => readSecret('token', file), { message: /does not exist \(yet\)$/ });
  t.throws(() => readSecret('token', tmpdir()), { message: /is not a regular file/ });
  t.is(spawnSync('mkfifo', [file]).status, 0);
  t.throws(() => readSecret('token', file), { message: /is not a regular file/ });
});

test('a file of somebody else names who cannot read it', (t) => {
  const file = place(t);
  writeFileSync(file, 's.abc');
  chmodSync(file, 0);
  if (process.geteuid?.() === 0) t.is(readSecret('token', file), 's.abc');
  else t.throws(() => readSecret('token', file), { message: /cannot be read by uid \d+ \(EACCES\)/ });
});
