import { callAdmin } from '../client.ts';
import type { GlobalFlags } from '../flags.ts';
import { enumText, suiteText, table } from '../render.ts';
import { show } from '../show.ts';

interface ListKeysResponse {
  readonly keys: readonly { key: string; state: string; suite: string; recipients: readonly { kek: string }[] }[];
}

export async function listKeys(flags: GlobalFlags): Promise<void> {
  show(flags, await callAdmin<ListKeysResponse>(flags, 'ListKeys', {}), ({ keys }) => {
    const rows = keys.map(({ key, state, suite, recipients }): [string, string] => {
      const keks = recipients.map(({ kek }) => kek).join(', ');
      return [key, `${enumText(state, 'KEY_STATE_')}  ${suiteText(suite)}  ${keks}`];
    });
    return rows.length === 0 ? 'no keys' : table(rows);
  });
}
