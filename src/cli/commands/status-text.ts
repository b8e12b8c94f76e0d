import type { ProtoTime } from '../json-document.ts';
import { age, enumText, instant, pairsText, table } from '../render.ts';

export interface StatusResponse {
  readonly version: string;
  readonly node_version: string;
  readonly profile: string;
  readonly started_at: ProtoTime | null;
  readonly as_of: ProtoTime | null;
  readonly memory: {
    readonly kind: string;
    readonly size: string;
    readonly slots: string;
    readonly slots_used: string;
    readonly sealed: string;
    readonly max_sealed: string;
  } | null;
  readonly upstreams: readonly UpstreamStatus[];
  readonly keys: readonly KeyStatus[];
  readonly warnings: readonly string[];
  readonly next_page_token: string;
}

interface UpstreamStatus {
  readonly upstream: string;
  readonly type: string;
  readonly state: string;
  readonly as_of: ProtoTime | null;
  readonly since: ProtoTime | null;
  readonly calls: string;
  readonly failures: string;
  readonly warnings: readonly string[];
}

interface KeyStatus {
  readonly key: string;
  readonly state: string;
  readonly cache_mode: string;
  readonly deks: readonly DekStatus[];
  readonly encrypting_deks: string;
  readonly decrypting_deks: string;
  readonly deks_in_grace: string;
  readonly rotations_overdue: string;
  readonly refusals_pending: string;
  readonly oldest_verification_age: ProtoTime | null;
  readonly grace_left: ProtoTime | null;
  readonly counters: Readonly<Record<string, string>>;
}

interface DekStatus {
  readonly dek_id: string;
  readonly class: string;
  readonly partition: Readonly<Record<string, string>>;
  readonly age: ProtoTime | null;
  readonly verification_age: ProtoTime | null;
  readonly messages: string;
  readonly rotation_overdue: boolean;
  readonly refusal_pending: boolean;
  readonly in_grace: boolean;
  readonly archived: boolean;
  readonly rotation_in: ProtoTime | null;
}

/** More DEKs of one key than these are counted, not shown: `--json` lists all. */
const SHOWN_DEKS = 10;

export function statusText(response: StatusResponse): string {
  const head = table([
    ['dekd', `${response.version} on Node ${response.node_version}, profile ${response.profile}`],
    ['started', instant(response.started_at)],
    ['as of', instant(response.as_of)],
    ['memory', response.memory === null ? undefined : memoryText(response.memory)],
    ...response.warnings.map((warning): [string, string] => ['warning', warning]),
  ]);
  return [head, ...response.upstreams.map(upstreamText), ...response.keys.map(keyText)].join('\n\n');
}

function memoryText(memory: NonNullable<StatusResponse['memory']>): string {
  const first = `${memory.kind}, ${memory.size} bytes, ${memory.slots_used} of ${memory.slots} slots used`;
  return memory.max_sealed === '0' ? first : `${first}, second tier ${memory.sealed} of ${memory.max_sealed}`;
}

function upstreamText(upstream: UpstreamStatus): string {
  const asOf = instant(upstream.as_of);
  const since = instant(upstream.since);
  const state = upstream.state || 'not called yet';
  return table([
    ['upstream', `${upstream.upstream} (${upstream.type})`],
    ['  state', asOf === undefined ? state : `${state} as of ${asOf}, since ${since}`],
    ['  calls', `${upstream.calls}, ${upstream.failures} failed`],
    ...upstream.warnings.map((warning): [string, string] => ['  warning', warning]),
  ]);
}

function graceText(key: KeyStatus): string {
  const left = age(key.grace_left);
  return left === undefined ? 'in grace' : `in grace (the first for ${left} more)`;
}

function keyText(key: KeyStatus): string {
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
    `verified ${age(dek.verification_age) ?? 'unknown'} ago`,
    `${dek.messages} messages`,
    rotation === undefined ? undefined : `successor in ${rotation}`,
    dek.in_grace ? 'in grace' : undefined,
    dek.archived ? 'archived' : undefined,
    dek.rotation_overdue ? 'rotation overdue' : undefined,
    dek.refusal_pending ? 'refusal pending' : undefined,
  ];
  return facts.filter((fact) => fact !== undefined).join(', ');
}
