import type { Readable } from 'node:stream';
import { scrub } from './scrub.ts';

const MAX_LINE_LENGTH = 500;
const MAX_LINES = 50;
/** An SDK that writes more in one child's life is taken for broken. */
const MAX_BYTES = 2 ** 20;

/** What a child writes to its standard error, line by line, scrubbed and bounded. `onFlood` is called once, when it writes without end. */
export function readErrorLines(errors: Readable, onLine: (line: string) => void, onFlood: () => void): void {
  let bytes = 0;
  let lines = 0;
  let pending = '';
  const tell = (line: string): void => {
    if (line.trim() === '') return;
    lines++;
    if (lines <= MAX_LINES) onLine(scrub(line, MAX_LINE_LENGTH));
    if (lines === MAX_LINES) onLine('more than this is not shown');
  };
  errors.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MAX_BYTES) {
      errors.destroy();
      onFlood();
      return;
    }
    const parts = (pending + chunk.toString('utf8')).split('\n');
    pending = parts.pop()!.slice(0, MAX_LINE_LENGTH + 1);
    for (const line of parts) tell(line);
  });
  errors.on('end', () => tell(pending));
  errors.on('error', () => undefined);
}
