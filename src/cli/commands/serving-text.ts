import { type ProtoTime, seconds } from '../json-document.ts';
import { enumText, instant } from '../render.ts';
import type { KekStatus, ServingTime } from './status-response.ts';

/** Undefined when no DEK is held. */
export function servingText(key: ServingTime, now: ProtoTime | null): string | undefined {
  if (key.serves_without_end) return 'without end, if no upstream answers';
  const first = untilText(key.serves_until, now);
  if (first === undefined) return undefined;
  const last = untilText(key.last_serves_until, now);
  const until = last === undefined || last === first ? first : `${first}, the last DEK ${last}`;
  return `${until}, if no upstream answers`;
}

export function kekText(status: KekStatus): string {
  return `${status.kek} (${roleText(status.role)}, upstream ${status.upstream}): ${healthText(status)}${missingText(status)}`;
}

/** DEKs that were made without it (`wrap: any`); empty when there is none. */
export function missingText({ missing_deks: deks }: Pick<KekStatus, 'missing_deks'>): string {
  return deks === 0 ? '' : `; ${deks} ${deks === 1 ? 'DEK that encrypts lacks' : 'DEKs that encrypt lack'} it`;
}

/** What this agent's calls at it found. */
export function healthText({ state, since, last_failure: failure, last_failure_at: at }: KekStatus): string {
  const last = failure === '' ? '' : `, last failure ${failure} at ${instant(at)}`;
  if (state === '') return last === '' ? 'not called yet' : `not known${last}`;
  return state === 'ok' ? `ok since ${instant(since)}${last}` : `${state} since ${instant(since)}`;
}

export function roleText(role: string): string {
  return role === 'RECIPIENT_ROLE_UNSPECIFIED' ? 'decrypt_with' : enumText(role, 'RECIPIENT_ROLE_');
}

/** From one instant to a later one, as people say it, cut: `90s`, `12m`, `3h 5m`, `2d 4h`. */
export function between(from: ProtoTime | null, to: ProtoTime | null): string {
  const elapsed = from === null || to === null ? 0 : Math.max(0, Math.floor(seconds(to) - seconds(from)));
  const minutes = Math.floor(elapsed / 60);
  const hours = Math.floor(minutes / 60);
  if (minutes < 2) return `${elapsed}s`;
  if (hours < 2) return `${minutes}m`;
  return hours < 48 ? `${hours}h ${minutes % 60}m` : `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

function untilText(until: ProtoTime | null, now: ProtoTime | null): string | undefined {
  return until === null ? undefined : `until ${instant(until)} (${between(now, until)} more)`;
}
