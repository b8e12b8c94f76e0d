import type { GlobalFlags } from './flags.ts';
import { printable } from './messages.ts';
import { show } from './show.ts';

/** Prints the answer to a call with `dry_run`, which holds no output: the agent refuses what would not be served. */
export function showDryRun(flags: GlobalFlags, response: { readonly key: string }): void {
  show(flags, response, ({ key }) => `key ${printable(key)}: would be served`);
}
