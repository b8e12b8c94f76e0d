import { type ProtoTime, seconds } from '../json-document.ts';
import { instant, table } from '../render.ts';
import { between, servingText } from './serving-text.ts';
import type { KeyStatus, StatusResponse, UpstreamStatus } from './status-response.ts';

/** Keys named under an upstream that is out; the others are counted. */
const SHOWN_KEYS = 10;

/** What an operator must see first: which upstream is out or drilled, of what class, since when and why, and until when each of its keys serves. */
export function troubleTexts({ upstreams, keys, as_of: now }: StatusResponse): string[] {
  return upstreams.filter(isTroubled).map((upstream) => {
    const its = keys
      .filter(({ keks }) => keks.some((kek) => kek.upstream === upstream.upstream))
      .sort((a, b) => endSeconds(a) - endSeconds(b));
    return table([
      [upstream.state === 'refused' ? 'REFUSED' : 'OUTAGE', upstreamRow(upstream, keys, now)],
      ...its.slice(0, SHOWN_KEYS).map((key): [string, string] => [`  ${key.key}`, keyRow(key, now)]),
      ['  more', its.length > SHOWN_KEYS ? `${its.length - SHOWN_KEYS} keys` : undefined],
    ]);
  });
}

/** Which key is in need first. */
function endSeconds({ serves_until: until }: KeyStatus): number {
  return until === null ? Number.MAX_SAFE_INTEGER : seconds(until);
}

function isTroubled({ state, drill }: UpstreamStatus): boolean {
  return isOut(state) || drill !== null;
}

/** Empty: not called yet. */
function isOut(state: string): boolean {
  return state !== '' && state !== 'ok';
}

function upstreamRow(status: UpstreamStatus, keys: readonly KeyStatus[], now: ProtoTime | null): string {
  const { upstream, state, since, drill } = status;
  const facts = [
    isOut(state) ? `${state} for ${between(since, now)}, since ${instant(since)}${causeText(status, keys)}` : undefined,
    drill === null
      ? undefined
      : `a drill (${drill.failure_class}) for ${between(now, drill.ends_at)} more, until ${instant(drill.ends_at)}`,
  ];
  return `upstream ${upstream}: ${facts.filter((fact) => fact !== undefined).join('; ')}`;
}

/** What was said at the last failure of that class, by a KEK in that state where one is shown; empty when nothing was. */
function causeText(status: UpstreamStatus, keys: readonly KeyStatus[]): string {
  const keks = keys.flatMap(({ keks: all }) => all).filter(({ upstream }) => upstream === status.upstream);
  const said = [...keks, status]
    .filter((one) => one.state === status.state && one.last_failure === status.state)
    .find(({ last_failure_message: message }) => message !== '');
  return said === undefined ? '' : `: ${said.last_failure_message}`;
}

function keyRow(key: KeyStatus, now: ProtoTime | null): string {
  const serving = servingText(key, now);
  return serving === undefined ? 'holds no DEK: every call needs an upstream' : `serves ${serving}`;
}
