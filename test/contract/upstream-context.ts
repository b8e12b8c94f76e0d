import { encodePairs } from '../../src/crypto/context.ts';
import type { UpstreamCallOptions, WrapContext } from '../../src/upstream/provider.ts';

/** Options of a call that nobody gives up. */
export function live(): UpstreamCallOptions {
  return { signal: new AbortController().signal };
}

export function wrapContext(entries: Readonly<Record<string, string>>): WrapContext {
  const pairs = new Map(Object.entries(entries));
  return { pairs, encoded: encodePairs(pairs) };
}
