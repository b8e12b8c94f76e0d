import { callAgent } from '../client.ts';
import type { GlobalFlags } from '../flags.ts';
import { type ProtoTime, publicJson } from '../json-document.ts';
import { writeText } from '../output.ts';
import { age, instant, pairsText, table } from '../render.ts';

interface StatusResponse {
  readonly version: string;
  readonly node_version: string;
  readonly profile: string;
  readonly started_at: ProtoTime | null;
  readonly memory: { kind: string; size: string; slots: string; slots_used: string } | null;
  readonly upstreams: readonly {
    upstream: string;
    type: string;
    state: string;
    as_of: ProtoTime | null;
    calls: string;
    failures: string;
    warnings: readonly string[];
  }[];
  readonly keys: readonly {
    key: string;
    cache_mode: string;
    deks: readonly DekStatus[];
    counters: Readonly<Record<string, string>>;
  }[];
  readonly warnings: readonly string[];
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
}

export async function status(flags: GlobalFlags): Promise<void> {
  const response = await callAgent<StatusResponse>(flags, {
    socket: 'admin',
    service: 'dekd.v1.KeyAdmin',
    method: 'GetStatus',
    request: {},
  });
  writeText(flags.json === true ? `${JSON.stringify(publicJson(response), undefined, 2)}\n` : humanText(response));
}

function humanText(response: StatusResponse): string {
  const { memory } = response;
  const head = table([
    ['dekd', `${response.version} on Node ${response.node_version}, profile ${response.profile}`],
    ['started', instant(response.started_at)],
    [
      'memory',
      memory === null
        ? undefined
        : `${memory.kind}, ${memory.size} bytes, ${memory.slots_used} of ${memory.slots} slots used`,
    ],
    ...response.warnings.map((warning): [string, string] => ['warning', warning]),
  ]);
  const parts = [head, ...response.upstreams.map(upstreamText), ...response.keys.map(keyText)];
  return `${parts.join('\n\n')}\n`;
}

function upstreamText(upstream: StatusResponse['upstreams'][number]): string {
  const asOf = instant(upstream.as_of);
  return table([
    ['upstream', `${upstream.upstream} (${upstream.type})`],
    ['  state', `${upstream.state || 'not called yet'}${asOf === undefined ? '' : ` as of ${asOf}`}`],
    ['  calls', `${upstream.calls}, ${upstream.failures} failed`],
    ...upstream.warnings.map((warning): [string, string] => ['  warning', warning]),
  ]);
}

function keyText(key: StatusResponse['keys'][number]): string {
  const counted = Object.entries(key.counters).filter(([, count]) => count !== '0');
  const counters = pairsText(Object.fromEntries(counted));
  return table([
    ['key', `${key.key} (cache ${key.cache_mode})`],
    ['  counters', counters === '' ? undefined : counters],
    ...key.deks.map((dek): [string, string] => [`  ${dek.class}`, dekText(dek)]),
  ]);
}

function dekText(dek: DekStatus): string {
  const partition = pairsText(dek.partition);
  const facts = [
    `DEK ${dek.dek_id.slice(0, 16)}`,
    partition === '' ? undefined : partition,
    `age ${age(dek.age) ?? 'unknown'}`,
    `verified ${age(dek.verification_age) ?? 'unknown'} ago`,
    `${dek.messages} messages`,
    dek.rotation_overdue ? 'rotation overdue' : undefined,
    dek.refusal_pending ? 'refusal pending' : undefined,
  ];
  return facts.filter((fact) => fact !== undefined).join(', ');
}
