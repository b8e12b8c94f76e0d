import type { Logger } from '../../src/telemetry/logger.ts';

export interface LogLine {
  readonly level: 'info' | 'warn' | 'error';
  readonly event: string;
  readonly [field: string]: unknown;
}

/** A logger that keeps what it is told, and gives `Logger` what the daemon's parts use of it. */
export function recordingLogger(): { logger: Logger; lines: LogLine[] } {
  const lines: LogLine[] = [];
  const at = (level: LogLine['level']) => (fields: { event: string }, text?: string) =>
    void lines.push({ level, text, ...fields });
  const logger = { info: at('info'), warn: at('warn'), error: at('error') } as unknown as Logger;
  return { logger, lines };
}
