import { setTimeout as sleep } from 'node:timers/promises';
import { isatty } from 'node:tty';
import { EXIT } from './exit-codes.ts';
import { CliError, note } from './messages.ts';
import { writeText } from './output.ts';

/** The cursor to the upper left corner, and everything from there on erased (ECMA-48: CUP, ED). */
const REDRAW = '\u001b[H\u001b[J';

/**
 * Shows what `look` returns again and again, until SIGINT or SIGTERM end the process with 0: over what stood there before on a terminal, one
 * after the other anywhere else. The first failure is thrown: the socket may be wrong. Later ones are told, since an agent that is restarted
 * comes back.
 */
export async function watch(intervalMs: number, look: () => Promise<string>): Promise<never> {
  // What is written is written at once: nothing is lost.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(EXIT.ok));
  const terminal = isatty(1);
  for (let first = true; ; first = false) {
    try {
      const text = await look();
      writeText(terminal ? `${REDRAW}${text}` : text);
    } catch (thrown) {
      if (first || !(thrown instanceof CliError)) throw thrown;
      note('dekctl', thrown.message);
    }
    await sleep(intervalMs);
  }
}
