import { readFileSync } from 'node:fs';
import test from 'ava';
import { EXIT, EXIT_BY_REASON } from '../../src/cli/exit-codes.ts';
import { REASONS, type Reason } from '../../src/errors.ts';

const docs = readFileSync(new URL('../../docs/command-line.md', import.meta.url), 'utf8');

test('docs/command-line.md lists exactly the exit codes that there are', (t) => {
  const listed = [...docs.matchAll(/^\| (\d+) +\|/gm)].map((match) => Number(match[1]));
  t.deepEqual(listed, Object.values(EXIT));
});

test('docs/command-line.md lists each reason at its exit code', (t) => {
  for (const reason of Object.keys(REASONS) as Reason[]) {
    const row = docs.split('\n').find((line) => line.startsWith(`| ${EXIT_BY_REASON[reason]} `)) ?? '';
    t.true(row.includes(`\`${reason}\``), `${reason} in the row of ${EXIT_BY_REASON[reason]}`);
  }
});

test('only what a retry may cure ends as unavailable', (t) => {
  for (const [reason, { retry }] of Object.entries(REASONS)) {
    if (retry) t.is(EXIT_BY_REASON[reason as Reason], EXIT.unavailable, reason);
  }
});
