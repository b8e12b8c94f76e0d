import { callAgent } from '../client.ts';
import type { GlobalFlags } from '../flags.ts';
import type { ProtoTime } from '../json-document.ts';
import { age, enumText, instant, span, suiteText, table } from '../render.ts';
import { show } from '../show.ts';
import { missingText } from './serving-text.ts';

export interface DescribeKeyResponse {
  readonly key: string;
  readonly state: string;
  readonly suite: string;
  readonly ttl: ProtoTime | null;
  readonly grace: ProtoTime | null;
  readonly rotate_after: ProtoTime | null;
  readonly recipients: readonly {
    upstream: string;
    kek: string;
    role: string;
    origin_unproven: boolean;
    missing_deks: number;
  }[];
  readonly partition_by: readonly string[];
  readonly partitions: string;
  readonly encrypting_deks: string;
  readonly decrypting_deks: string;
  readonly oldest_encrypting_dek_age: ProtoTime | null;
  readonly oldest_verification_age: ProtoTime | null;
  readonly as_of: ProtoTime | null;
}

export async function describe(key: string, flags: GlobalFlags): Promise<void> {
  const response = await callAgent<DescribeKeyResponse>(flags, {
    socket: 'agent',
    service: 'dekd.v1.KeyAgent',
    method: 'DescribeKey',
    request: { key },
  });
  show(flags, response, (described) => table(keyRows(described)));
}

export function keyRows(response: DescribeKeyResponse): [string, string | undefined][] {
  return [
    ['key', response.key],
    ['state', enumText(response.state, 'KEY_STATE_')],
    ['suite', suiteText(response.suite)],
    ...response.recipients.map((recipient): [string, string] => ['recipient', recipientText(recipient)]),
    ['partition by', response.partition_by.join(', ') || 'nothing'],
    ['ttl', span(response.ttl)],
    ['grace', span(response.grace) ?? 'unlimited'],
    ['rotate after', span(response.rotate_after)],
    ['partitions', `${response.partitions} in memory`],
    ['DEKs', `${response.encrypting_deks} encrypting, ${response.decrypting_deks} decrypting`],
    ['oldest DEK', age(response.oldest_encrypting_dek_age)],
    ['last verified', age(response.oldest_verification_age)],
    ['as of', instant(response.as_of)],
  ];
}

function recipientText(recipient: DescribeKeyResponse['recipients'][number]): string {
  const origin = recipient.origin_unproven ? ', origin unproven' : '';
  const role = enumText(recipient.role, 'RECIPIENT_ROLE_');
  return `${recipient.kek} (${role}, upstream ${recipient.upstream}${origin})${missingText(recipient)}`;
}
