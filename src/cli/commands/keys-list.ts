import { callAgent } from '../client.ts';
import type { GlobalFlags } from '../flags.ts';
import { publicJson } from '../json-document.ts';
import { writeText } from '../output.ts';
import { enumText, suiteText, table } from '../render.ts';

interface ListKeysResponse {
  readonly keys: readonly { key: string; state: string; suite: string; recipients: readonly { kek: string }[] }[];
}

export async function listKeys(flags: GlobalFlags): Promise<void> {
  const response = await callAgent<ListKeysResponse>(flags, {
    socket: 'admin',
    service: 'dekd.v1.KeyAdmin',
    method: 'ListKeys',
    request: {},
  });
  if (flags.json === true) return writeText(`${JSON.stringify(publicJson(response), undefined, 2)}\n`);
  const rows = response.keys.map(({ key, state, suite, recipients }): [string, string] => {
    const keks = recipients.map(({ kek }) => kek).join(', ');
    return [key, `${enumText(state, 'KEY_STATE_')}  ${suiteText(suite)}  ${keks}`];
  });
  writeText(rows.length === 0 ? 'no keys\n' : `${table(rows)}\n`);
}
