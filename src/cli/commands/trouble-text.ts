import { type ProtoTime, seconds } from '../json-document.ts';
import { instant, table } from '../render.ts';
import { between, servingText } from './serving-text.ts';
import type { KekStatus, KeyStatus, StatusResponse, UpstreamStatus } from './status-response.ts';

/** Keys named under an upstream that is out; the others are counted. */
const SHOWN_KEYS = 10;

/** What an operator must see first: which upstream is out or drilled, of what class, since when and why, and until when each key that meets it serves. */
export function troubleTexts({ upstreams, keys, as_of: now }: StatusResponse): string[] {
  return upstreams.filter(isTroubled).map((upstream) => {
    const its = keys
      .filter((key) => keksAt(key, upstream).some((kek) => isHit(kek, upstream)))
      .sort((a, b) => endSeconds(a) - endSeconds(b));
    const unasked = keys.filter(
      (key) => !its.includes(key) && keksAt(key, upstream).some((kek) => isOld(kek, upstream)),
    );
    return table([
      [upstream.state === 'refused' ? 'REFUSED' : 'OUTAGE', upstreamRow(upstream, keys, now)],
      ...its.slice(0, SHOWN_KEYS).map((key): [string, string] => [`  ${key.key}`, keyRow(key, upstream, now)]),
      ['  more', its.length > SHOWN_KEYS ? `${its.length - SHOWN_KEYS} keys` : undefined],
      ['  others', unasked.length > 0 ? unaskedText(unasked.length) : undefined],
    ]);
  });
}

function keksAt({ keks }: KeyStatus, { upstream }: UpstreamStatus): KekStatus[] {
  return keks.filter((kek) => kek.upstream === upstream);
}

/** A drill is for every call at the upstream; what one KEK meets need not be so for the others, such as a refusal. */
function isHit(kek: KekStatus, { drill }: UpstreamStatus): boolean {
  return drill !== null || isOut(kek.state);
}

/** What is known of it is from before the outage, or nothing is. One that refuses says nothing about the others. */
function isOld({ as_of: asOf }: KekStatus, { state, since }: UpstreamStatus): boolean {
  return state !== 'refused' && (asOf === null || (since !== null && seconds(asOf) < seconds(since)));
}

function unaskedText(count: number): string {
  return count === 1
    ? '1 key, whose KEK there was not asked since'
    : `${count} keys, whose KEKs there were not asked since`;
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

function keyRow(key: KeyStatus, upstream: UpstreamStatus, now: ProtoTime | null): string {
  const serving = servingText(key, now);
  const text = serving === undefined ? 'holds no DEK: every call needs an upstream' : `serves ${serving}`;
  const states = keksAt(key, upstream).map(({ state }) => state);
  const other = states.includes(upstream.state) ? undefined : states.find(isOut);
  return other === undefined ? text : `${other}; ${text}`;
}
