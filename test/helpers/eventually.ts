import { setTimeout as sleep } from 'node:timers/promises';

const PATIENCE_MS = 30_000;
const AGAIN_MS = 100;

/** What comes of an attempt that may fail at first. Throws its last error when it still fails after half a minute. */
export async function eventually<T>(attempt: () => Promise<T> | T): Promise<T> {
  for (const until = performance.now() + PATIENCE_MS; ; await sleep(AGAIN_MS)) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > until) throw error;
    }
  }
}
