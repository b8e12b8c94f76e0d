import { readFileSync } from 'node:fs';
import test from 'ava';
import { STATUS_OF } from '../../src/api/status.ts';
import { EXIT_BY_REASON } from '../../src/cli/exit-codes.ts';
import { REASONS, type Reason } from '../../src/errors.ts';
import { errorsPage, PAGE } from '../../tools/errors-page.ts';

const page = readFileSync(PAGE, 'utf8');
const CAUSED_BY = { caller: 'caller', us: 'dekd', upstream: 'upstream' } as const;

/** Rows of the page's table of reasons, cell by cell. */
function documented(): string[][] {
  const rows = page.split('\n').filter((line) => line.startsWith('| `'));
  return rows.map((line) => {
    const [reason = '', ...cells] = line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
    return [reason.replaceAll('`', ''), ...cells];
  });
}

test('docs/errors.md has every reason of the code, in its order, with all that is said of it, and no other', (t) => {
  const coded = (Object.keys(REASONS) as Reason[]).map((reason) => {
    const { fault, retry, meaning, remedy } = REASONS[reason];
    const exitCode = String(EXIT_BY_REASON[reason]);
    return [reason, STATUS_OF[reason], CAUSED_BY[fault], retry ? 'yes' : 'no', exitCode, meaning, remedy];
  });
  t.deepEqual(documented(), coded);
});

test('the page is the one that tools/errors-page.ts writes; what stands above its mark is people’s', (t) => {
  t.is(errorsPage(page), page);
  const other = errorsPage(`# Other words\n${page.slice(page.indexOf('<!--'))}`);
  t.true(other.startsWith('# Other words\n<!--'));
  t.is(other.slice(other.indexOf('<!--')), page.slice(page.indexOf('<!--')));
});

test('no cell breaks the table, and each reason has both sentences', (t) => {
  for (const [reason, { meaning, remedy }] of Object.entries(REASONS)) {
    for (const text of [meaning, remedy]) t.regex(text, /^[^|\n]{4,}$/, reason);
  }
});
