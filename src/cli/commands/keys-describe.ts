import { callAdmin } from '../client.ts';
import type { GlobalFlags } from '../flags.ts';
import type { ProtoTime } from '../json-document.ts';
import { age, enumText, instant, pairsText, span, table } from '../render.ts';
import { show } from '../show.ts';
import { type DescribeKeyResponse, keyRows } from './describe.ts';
import { healthText, roleText, servingText } from './serving-text.ts';
import type { KekStatus, ServingTime } from './status-response.ts';

interface KekVersion {
  readonly version: string;
  readonly state: string;
  readonly created_at: ProtoTime | null;
  readonly created_by: string;
  readonly age: ProtoTime | null;
  readonly destroyed_at: ProtoTime | null;
  readonly destroyed_by: string;
}

interface DisabledPartition {
  readonly key: string;
  readonly partition: Readonly<Record<string, string>>;
  readonly disabled_at: ProtoTime | null;
  readonly disabled_by: string;
}

interface Kek {
  readonly upstream: string;
  readonly kek: string;
  readonly role: string;
  readonly state: string;
  readonly state_changed_at: ProtoTime | null;
  readonly state_changed_by: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly versions: readonly KekVersion[];
  readonly expires_at: ProtoTime | null;
  readonly next_rotation_at: ProtoTime | null;
  readonly deletion: {
    readonly requested_by: readonly string[];
    readonly waiting_period: ProtoTime | null;
    readonly deletion_at: ProtoTime | null;
  } | null;
  readonly problem: string;
  readonly disabled_partitions: readonly DisabledPartition[];
  readonly disabled_partition_count: number;
  readonly status: KekStatus | null;
}

interface AdminDescribeKeyResponse extends ServingTime {
  readonly key: DescribeKeyResponse;
  readonly keks: readonly Kek[];
}

/** What `describe` shows, and the KEKs as their upstreams describe them. */
export async function describeKeyForAdmin(key: string, flags: GlobalFlags): Promise<void> {
  show(flags, await callAdmin<AdminDescribeKeyResponse>(flags, 'DescribeKey', { key }), (response) =>
    [
      table([...keyRows(response.key), ['serves', servingText(response, response.key.as_of)]]),
      ...response.keks.map(kekText),
    ].join('\n\n'),
  );
}

function kekText(kek: Kek): string {
  return table([
    ['KEK', `${kek.kek} (${roleText(kek.role)}, upstream ${kek.upstream})`],
    ['  problem', kek.problem === '' ? undefined : kek.problem],
    ['  calls', kek.status === null ? undefined : healthText(kek.status)],
    ['  state', stateText(kek)],
    ['  deletion', kek.deletion === null ? undefined : deletionText(kek.deletion)],
    ['  expires', instant(kek.expires_at)],
    ['  next rotation', instant(kek.next_rotation_at)],
    ['  labels', pairsText(kek.labels) || undefined],
    ...kek.versions.map((version): [string, string] => [`  version ${version.version}`, versionText(version)]),
    ...kek.disabled_partitions.map((partition): [string, string] => ['  partition', partitionText(partition)]),
    ['  partitions', moreText(kek)],
  ]);
}

function stateText({ state, state_changed_at: at, state_changed_by: by }: Kek): string | undefined {
  if (state === 'KEY_STATE_UNSPECIFIED') return undefined;
  const since = at === null ? '' : ` since ${instant(at)}${byText(by)}`;
  return `${enumText(state, 'KEY_STATE_')}${since}`;
}

function byText(who: string): string {
  return who === '' ? '' : ` by ${who}`;
}

function deletionText(deletion: NonNullable<Kek['deletion']>): string {
  const who = deletion.requested_by.join(', ');
  if (deletion.deletion_at !== null) return `at ${instant(deletion.deletion_at)}, asked for by ${who}`;
  return `asked for by ${who}, after ${span(deletion.waiting_period)}; waits for another custodian`;
}

function partitionText({ key, partition, disabled_at: at, disabled_by: by }: DisabledPartition): string {
  return `${pairsText(partition)} of key ${key}: disabled since ${instant(at)}${byText(by)}`;
}

function moreText({ disabled_partitions: shown, disabled_partition_count: count }: Kek): string | undefined {
  return count > shown.length ? `${count} are disabled, the first ${shown.length} are shown` : undefined;
}

function versionText(version: KekVersion): string {
  const state = enumText(version.state, 'KEK_VERSION_STATE_').replace('decrypt only', 'decrypt-only');
  const made = `${state}, made ${instant(version.created_at)}${byText(version.created_by)} (${age(version.age)} ago)`;
  if (version.destroyed_at === null) return made;
  return `${made}, destroyed ${instant(version.destroyed_at)}${byText(version.destroyed_by)}`;
}
