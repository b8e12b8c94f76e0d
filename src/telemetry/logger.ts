import { destination, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

/** JSON lines on standard error, one an event (names.ts); never a secret, never associated data. Written at once: nothing is lost at an exit. */
export function createLogger(level: string): Logger {
  return pino({ level, base: { pid: process.pid } }, destination({ dest: 2, sync: true }));
}
