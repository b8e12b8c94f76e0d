import { DekdError } from '../errors.ts';
import type { Keyrings } from '../keyring/keyrings.ts';
import type { Logger } from '../telemetry/logger.ts';
import { EVENTS } from '../telemetry/names.ts';

/** A `startup` key that could not be warmed is tried again after this long. */
const RETRY_MS = 1_000;

/**
 * Makes the DEKs of `startup` keys, then calls `ready`. Keys with partitions have nothing to warm before a partition is named. Returns what
 * stops it.
 */
export function warmStartupKeys(keyrings: Keyrings, logger: Logger, ready: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  const attempt = async (): Promise<void> => {
    try {
      for (const name of keyrings.names()) {
        const keyring = keyrings.byName(name);
        if (keyring?.options.cache.mode !== 'startup' || keyring.options.partitionBy.length > 0) continue;
        await keyring.warm(new Map());
      }
      if (!stopped) ready();
    } catch (thrown) {
      const { reason, message } = DekdError.from(thrown);
      logger.warn({ event: EVENTS.warmFailed, reason }, message);
      if (!stopped) timer = setTimeout(() => void attempt(), RETRY_MS);
    }
  };
  void attempt();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
