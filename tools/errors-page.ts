// Writes the table of docs/errors.md from the tables of the code: `node tools/errors-page.ts`. A test fails while the page says anything else.
import { readFileSync, writeFileSync } from 'node:fs';
import { STATUS_OF } from '../src/api/status.ts';
import { EXIT_BY_REASON } from '../src/cli/exit-codes.ts';
import { REASONS, type Reason } from '../src/errors.ts';

export const PAGE = new URL('../docs/errors.md', import.meta.url);

const MARK =
  '<!-- From here on written by tools/errors-page.ts from src/errors.ts, src/api/status.ts and src/cli/exit-codes.ts: change those. -->';
const CAUSED_BY = { caller: 'caller', us: 'dekd', upstream: 'upstream' } as const;
const HEADER = '| reason | gRPC code | caused by | retry | `dekctl` | what it means | what to do |';

/** The page with its table written anew; what people wrote above the mark stays. */
export function errorsPage(page: string): string {
  const [written] = page.split(MARK);
  const rows = (Object.keys(REASONS) as Reason[]).map((reason) => {
    const { fault, retry, meaning, remedy } = REASONS[reason];
    const cells = [STATUS_OF[reason], CAUSED_BY[fault], retry ? 'yes' : 'no', EXIT_BY_REASON[reason], meaning, remedy];
    return `| \`${reason}\` | ${cells.join(' | ')} |`;
  });
  return `${written}${MARK}\n\n## Reasons\n\n${HEADER}\n| --- | --- | --- | --- | --- | --- | --- |\n${rows.join('\n')}\n`;
}

if (import.meta.main) writeFileSync(PAGE, errorsPage(readFileSync(PAGE, 'utf8')));
