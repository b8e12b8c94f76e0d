import { DekdError } from '../errors.ts';
import type { Keyring } from '../keyring/keyring.ts';
import type { Keyrings } from '../keyring/keyrings.ts';
import type { Logger } from '../telemetry/logger.ts';
import { EVENTS } from '../telemetry/names.ts';

/** A `startup` key that could not be warmed is tried again after this long. */
const RETRY_MS = 1_000;

/**
 * Makes the DEKs of `startup` keys, then calls `ready`. Keys with partitions have nothing to warm before a partition is named; keys that are disabled,
 * archived or to be deleted may have no DEK, and must not keep the others from being served. What fails is logged when it begins to fail or fails in
 * another way. Returns what stops it.
 */
export function warmStartupKeys(keyrings: Keyrings, logger: Logger, ready: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  let lastProblem = '';
  const attempt = async (): Promise<void> => {
    try {
      for (const keyring of startupKeyrings(keyrings)) await keyring.warm(new Map());
      if (!stopped) ready();
    } catch (thrown) {
      const { reason, message } = DekdError.from(thrown);
      if (message !== lastProblem) logger.warn({ event: EVENTS.warmFailed, reason }, message);
      lastProblem = message;
      if (!stopped) timer = setTimeout(() => void attempt(), RETRY_MS);
    }
  };
  void attempt();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

function* startupKeyrings(keyrings: Keyrings): Generator<Keyring> {
  for (const name of keyrings.names()) {
    const keyring = keyrings.byName(name);
    if (keyring === undefined || keyring.state !== 'active') continue;
    if (keyring.options.cache.mode === 'startup' && keyring.options.partitionBy.length === 0) yield keyring;
  }
}
