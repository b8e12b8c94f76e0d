import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { STATUS_OF } from '../../src/api/status.ts';
import { REASONS, type Reason } from '../../src/errors.ts';

const page = join(import.meta.dirname, '..', '..', 'docs', 'architecture.md');

const CAUSED_BY = { caller: 'caller', us: 'dekd', upstream: 'upstream' } as const;

/** Rows of the table under the heading `Errors`: reason, code, caused by, retry. */
function documented(): string[][] {
  const section = readFileSync(page, 'utf8')
    .split(/^## /m)
    .find((part) => part.startsWith('Errors\n'));
  const rows = section?.split('\n').filter((line) => line.startsWith('| `')) ?? [];
  return rows.map((line) => {
    const [reason = '', ...cells] = line
      .split('|')
      .map((cell) => cell.trim())
      .slice(1, 5);
    return [reason.replaceAll('`', ''), ...cells];
  });
}

test('docs/architecture.md has every reason of the code, in its order, with its code, cause and retry, and no other', (t) => {
  const coded = (Object.keys(REASONS) as Reason[]).map((reason) => {
    const { fault, retry } = REASONS[reason];
    return [reason, STATUS_OF[reason], CAUSED_BY[fault], retry ? 'yes' : 'no'];
  });
  t.deepEqual(documented(), coded);
});
