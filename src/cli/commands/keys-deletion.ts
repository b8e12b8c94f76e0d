import { callAdmin } from '../client.ts';
import { type GlobalFlags, parseSpan } from '../flags.ts';
import type { ProtoTime } from '../json-document.ts';
import { printable } from '../messages.ts';
import { instant, span } from '../render.ts';
import { show } from '../show.ts';
import { stateText } from './keys-state.ts';

export interface ScheduleDeletionFlags extends GlobalFlags {
  readonly waitingPeriod: string;
}

interface ScheduledDeletion {
  readonly in_effect: boolean;
  readonly deletion_at: ProtoTime | null;
  readonly requested_by: readonly string[];
  readonly waiting_period: ProtoTime | null;
}

export async function scheduleDeletion(key: string, flags: ScheduleDeletionFlags): Promise<void> {
  const waitingMs = parseSpan('--waiting-period', flags.waitingPeriod);
  const request = { key, waiting_period: { seconds: Math.floor(waitingMs / 1000), nanos: (waitingMs % 1000) * 1e6 } };
  show(flags, await callAdmin<ScheduledDeletion>(flags, 'ScheduleKeyDeletion', request), (deletion) => {
    const who = deletion.requested_by.join(', ');
    if (!deletion.in_effect) {
      const period = span(deletion.waiting_period) ?? flags.waitingPeriod;
      return printable(
        `${who} asked to destroy ${key} after ${period}; nothing has changed yet: within 24 h another custodian must run the same: ` +
          `dekctl keys schedule-deletion ${key} --waiting-period ${period}`,
      );
    }
    return printable(
      `${key} will be destroyed at ${instant(deletion.deletion_at)}, as ${who} asked; until then every use is refused; ` +
        `stop it with: dekctl keys cancel-deletion ${key}`,
    );
  });
}

export async function cancelDeletion(key: string, flags: GlobalFlags): Promise<void> {
  show(flags, await callAdmin<{ state: string }>(flags, 'CancelKeyDeletion', { key }), ({ state }) => {
    const next = state === 'KEY_STATE_DISABLED' ? `; back with: dekctl keys enable ${key}` : '';
    return printable(`${key} will not be destroyed; it is ${stateText(state)}${next}`);
  });
}
