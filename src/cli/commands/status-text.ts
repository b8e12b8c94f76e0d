import type { ProtoTime } from '../json-document.ts';
import { age, enumText, instant, pairsText, table } from '../render.ts';
import { between, kekText, servingText } from './serving-text.ts';
import type { DekStatus, KeyStatus, StatusResponse, UpstreamStatus } from './status-response.ts';
import { troubleTexts } from './trouble-text.ts';

/** More DEKs of one key than these are counted, not shown: `--json` lists all. */
const SHOWN_DEKS = 10;
/** Of a digest: enough to see that two agents have the same. */
const SHOWN_DIGITS = 12;

export function statusText(response: StatusResponse): string {
  const head = table([
    ['dekd', `${response.version} on Node ${response.node_version}, profile ${response.profile}`],
    ['started', instant(response.started_at)],
    ['as of', instant(response.as_of)],
    ['memory', response.memory === null ? undefined : memoryText(response.memory)],
    ['revocations', response.revocations === null ? undefined : revocationsText(response.revocations)],
    ...response.warnings.map((warning): [string, string] => ['warning', warning]),
  ]);
  const { as_of: now } = response;
  const upstreams = response.upstreams.map((upstream) => upstreamText(upstream, now));
  const keys = response.keys.map((key) => keyText(key, now));
  return [head, ...troubleTexts(response), ...upstreams, ...keys].join('\n\n');
}

function memoryText(memory: NonNullable<StatusResponse['memory']>): string {
  const free = `${memory.free_raw} free for raw keys`;
  const first = `${memory.kind}, ${memory.size} bytes, ${memory.slots_used} of ${memory.slots} slots used, ${free}`;
  return memory.max_sealed === '0' ? first : `${first}, second tier ${memory.sealed} of ${memory.max_sealed}`;
}

function revocationsText(revocations: NonNullable<StatusResponse['revocations']>): string {
  const { entries, file, sha256, changed_at: changed, looked_at: looked } = revocations;
  return `${entries} in force since ${instant(changed)}, of ${file} (sha256 ${sha256.slice(0, SHOWN_DIGITS)}…) as of ${instant(looked)}`;
}

function upstreamText(upstream: UpstreamStatus, now: ProtoTime | null): string {
  const asOf = instant(upstream.as_of);
  const since = instant(upstream.since);
  const state = upstream.state || (upstream.calls === '0' ? 'not called yet' : 'not known');
  const { drill, last_failure: failure } = upstream;
  return table([
    ['upstream', `${upstream.upstream} (${upstream.type})`],
    ['  state', asOf === undefined ? state : `${state} as of ${asOf}, since ${since}`],
    ['  breaker', upstream.breaker === 'open' ? 'open: calls fail at once until a probe is answered' : undefined],
    ['  drill', drill === null ? undefined : drillText(drill, now)],
    ['  last failure', failure === '' ? undefined : lastFailureText(upstream)],
    ['  calls', `${upstream.calls}, ${upstream.failures} failed`],
    ['  children', upstream.child_pids.join(', ') || undefined],
    ...upstream.warnings.map((warning): [string, string] => ['  warning', warning]),
  ]);
}

function lastFailureText({ last_failure: failure, last_failure_at: at, last_failure_message: why }: UpstreamStatus) {
  const text = `${failure} at ${instant(at)}`;
  return why === '' ? text : `${text}: ${why}`;
}

function drillText(drill: NonNullable<UpstreamStatus['drill']>, now: ProtoTime | null): string {
  return `${drill.failure_class} until ${instant(drill.ends_at)} (${between(now, drill.ends_at)} more)`;
}

function graceText(key: KeyStatus): string {
  const left = age(key.grace_left);
  return left === undefined ? 'in grace' : `in grace (the first for ${left} more)`;
}

function keyText(key: KeyStatus, now: ProtoTime | null): string {
  const counted = Object.entries(key.counters).filter(([, count]) => count !== '0');
  const shown = key.deks.slice(0, SHOWN_DEKS);
  const more = Number(key.encrypting_deks) + Number(key.decrypting_deks) - shown.length;
  const oldest = age(key.oldest_verification_age);
  const troubles = [
    oldest === undefined ? undefined : `verified at most ${oldest} ago`,
    countText(key.deks_in_grace, graceText(key)),
    countText(key.rotations_overdue, 'overdue for rotation'),
    countText(key.refusals_pending, 'with a refusal pending'),
  ].filter((text) => text !== undefined);
  return table([
    ['key', `${key.key} (${enumText(key.state, 'KEY_STATE_')}, cache ${key.cache_mode})`],
    ...key.keks.map((kek): [string, string] => ['  KEK', kekText(kek)]),
    ['  serves', servingText(key, now)],
    ['  DEKs', [`${key.encrypting_deks} encrypting, ${key.decrypting_deks} decrypting`, ...troubles].join(', ')],
    ['  counters', pairsText(Object.fromEntries(counted)) || undefined],
    ...shown.map((dek): [string, string] => [`  ${dek.class}`, dekText(dek)]),
    ['  more', more > 0 ? `${more} DEKs; --json lists all` : undefined],
  ]);
}

function countText(count: string, what: string): string | undefined {
  return count === '0' ? undefined : `${count} ${what}`;
}

function dekText(dek: DekStatus): string {
  const partition = pairsText(dek.partition);
  const rotation = age(dek.rotation_in);
  const facts = [
    `DEK ${dek.dek_id.slice(0, 16)}`,
    partition === '' ? undefined : partition,
    `age ${age(dek.age) ?? 'unknown'}`,
    `verified ${age(dek.verification_age) ?? 'unknown'} ago${verifierText(dek)}`,
    `${dek.messages} messages`,
    rotation === undefined ? undefined : `successor in ${rotation}`,
    dek.in_grace ? 'in grace' : undefined,
    dek.archived ? 'archived' : undefined,
    dek.rotation_overdue ? 'rotation overdue' : undefined,
    dek.refusal_pending ? 'refusal pending' : undefined,
  ];
  return facts.filter((fact) => fact !== undefined).join(', ');
}

/** Of an authority, as it should be, it is not said. */
function verifierText({ verified_by: by }: DekStatus): string {
  return by === '' || by === 'authority' ? '' : ` by ${by}`;
}
