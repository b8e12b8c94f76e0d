import { callAdmin } from '../client.ts';
import type { KekFlags } from '../flags.ts';
import { printable } from '../messages.ts';
import { enumText } from '../render.ts';
import { show } from '../show.ts';

interface ChangedKey {
  readonly state: string;
}

interface DisabledKey extends ChangedKey {
  readonly purged_deks: string;
}

export async function disableKey(key: string, flags: KekFlags): Promise<void> {
  const response = await callAdmin<DisabledKey>(flags, 'DisableKey', target(key, flags));
  show(flags, response, ({ state, purged_deks: purged }) => {
    const done =
      flags.kek === undefined
        ? `disabled ${key}: every use is refused from now on`
        : `disabled ${kekText(key, flags.kek, state)}: what it wrapped is refused from now on`;
    return printable(`${done}, DEKs zeroed: ${purged}; back with: dekctl keys enable ${again(key, flags)}`);
  });
}

export async function enableKey(key: string, flags: KekFlags): Promise<void> {
  show(flags, await callAdmin<ChangedKey>(flags, 'EnableKey', target(key, flags)), ({ state }) => {
    if (flags.kek !== undefined) return printable(`enabled ${kekText(key, flags.kek, state)}; ${seeKeks(key)}`);
    return printable(
      state === 'KEY_STATE_ARCHIVED'
        ? `enabled ${key}: it is archived, as before it was disabled; to let it encrypt too, run the same again`
        : `enabled ${key}: it is ${stateText(state)}`,
    );
  });
}

export async function archiveKey(key: string, flags: KekFlags): Promise<void> {
  show(flags, await callAdmin<ChangedKey>(flags, 'ArchiveKey', target(key, flags)), ({ state }) => {
    const done =
      flags.kek === undefined
        ? `archived ${key}: it no longer encrypts, and decrypts`
        : `archived ${kekText(key, flags.kek, state)}: what it wrapped decrypts`;
    return printable(`${done} for rules with archived: true; back with: dekctl keys enable ${again(key, flags)}`);
  });
}

/** What a request names: a key, or one KEK of it. */
export function target(key: string, { kek }: KekFlags): { key: string; kek?: string } {
  return kek === undefined ? { key } : { key, kek };
}

/** The arguments of a command for the same target. */
export function again(key: string, { kek }: KekFlags): string {
  return kek === undefined ? key : `${key} --kek ${kek}`;
}

/** The answer has the key's state and not the KEK's. */
export function kekText(key: string, kek: string, keyState: string): string {
  return `KEK ${kek} of ${key} (the key is ${stateText(keyState)})`;
}

export function seeKeks(key: string): string {
  return `see its state with: dekctl keys describe ${key}`;
}

/** `pending deletion`. */
export function stateText(state: string): string {
  return enumText(state, 'KEY_STATE_');
}
