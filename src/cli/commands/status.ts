import { callAdmin } from '../client.ts';
import { EXIT } from '../exit-codes.ts';
import { type GlobalFlags, parseSpan, type SpanBounds } from '../flags.ts';
import { publicJson } from '../json-document.ts';
import { CliError } from '../messages.ts';
import { show } from '../show.ts';
import { watch } from '../watch.ts';
import type { StatusResponse } from './status-response.ts';
import { statusText } from './status-text.ts';

export interface StatusFlags extends GlobalFlags {
  readonly watch?: boolean;
  readonly interval?: string;
}

const DEFAULT_INTERVAL = '2s';
/** More often, watching would be work for the agent; less often, a timer of Node's would not wait. */
const INTERVAL: SpanBounds = { minimumMs: 100, maximumMs: 86_400_000, example: '2s' };

export async function status(flags: StatusFlags): Promise<void> {
  if (flags.watch !== true) {
    if (flags.interval !== undefined) throw new CliError(EXIT.usage, '--interval: only with --watch');
    show(flags, await fetchStatus(flags), statusText);
    return;
  }
  const intervalMs = parseSpan('--interval', flags.interval ?? DEFAULT_INTERVAL, INTERVAL);
  await watch(intervalMs, async () => {
    const response = await fetchStatus(flags);
    // One document a line: for programs that read as it comes.
    return flags.json === true ? `${JSON.stringify(publicJson(response))}\n` : `${statusText(response)}\n\n`;
  });
}

/** Fewer calls than by the agent's own 1,000, and still no answer for which its other callers must wait. */
const PAGE_DEKS = 5_000;

/** For programs every DEK, which may take several calls; people see the first ones and the counts. */
async function fetchStatus(flags: GlobalFlags): Promise<StatusResponse> {
  if (flags.json !== true) return callAdmin<StatusResponse>(flags, 'GetStatus', {});
  let page = await callAdmin<StatusResponse>(flags, 'GetStatus', { max_deks: PAGE_DEKS, page_token: '' });
  const deks = new Map(page.keys.map(({ key, deks: first }) => [key, [...first]]));
  while (page.next_page_token !== '') {
    page = await callAdmin<StatusResponse>(flags, 'GetStatus', {
      max_deks: PAGE_DEKS,
      page_token: page.next_page_token,
    });
    for (const { key, deks: more } of page.keys) deks.set(key, [...(deks.get(key) ?? []), ...more]);
  }
  return { ...page, keys: page.keys.map((key) => ({ ...key, deks: deks.get(key.key) ?? [] })) };
}
