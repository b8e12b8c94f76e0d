import { callAdmin } from '../client.ts';
import type { GlobalFlags } from '../flags.ts';
import { printable } from '../messages.ts';
import { enumText } from '../render.ts';
import { show } from '../show.ts';

interface ChangedKey {
  readonly state: string;
}

interface DisabledKey extends ChangedKey {
  readonly purged_deks: string;
}

export async function disableKey(key: string, flags: GlobalFlags): Promise<void> {
  show(flags, await callAdmin<DisabledKey>(flags, 'DisableKey', { key }), ({ purged_deks: purged }) =>
    printable(
      `disabled ${key}: every use is refused from now on, DEKs zeroed: ${purged}; back with: dekctl keys enable ${key}`,
    ),
  );
}

export async function enableKey(key: string, flags: GlobalFlags): Promise<void> {
  show(flags, await callAdmin<ChangedKey>(flags, 'EnableKey', { key }), ({ state }) =>
    printable(
      state === 'KEY_STATE_ARCHIVED'
        ? `enabled ${key}: it is archived, as before it was disabled; to let it encrypt too, run the same again`
        : `enabled ${key}: it is ${stateText(state)}`,
    ),
  );
}

export async function archiveKey(key: string, flags: GlobalFlags): Promise<void> {
  show(flags, await callAdmin<ChangedKey>(flags, 'ArchiveKey', { key }), () =>
    printable(
      `archived ${key}: it no longer encrypts, and decrypts for rules with archived: true; back with: dekctl keys enable ${key}`,
    ),
  );
}

/** `pending deletion`. */
export function stateText(state: string): string {
  return enumText(state, 'KEY_STATE_');
}
