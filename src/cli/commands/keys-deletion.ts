import { callAdmin } from '../client.ts';
import { type KekFlags, parseSpan, requestSpan, type SpanBounds } from '../flags.ts';
import type { ProtoTime } from '../json-document.ts';
import { printable } from '../messages.ts';
import { instant, span } from '../render.ts';
import { show } from '../show.ts';
import { again, kekText, seeKeks, stateText, target } from './keys-state.ts';

export interface ScheduleDeletionFlags extends KekFlags {
  readonly waitingPeriod: string;
}

interface ScheduledDeletion {
  readonly in_effect: boolean;
  readonly deletion_at: ProtoTime | null;
  readonly requested_by: readonly string[];
  readonly waiting_period: ProtoTime | null;
}

const DAY_MS = 86_400_000;
/** As ScheduleKeyDeletion takes them. */
const WAITING_PERIOD: SpanBounds = { minimumMs: 7 * DAY_MS, maximumMs: 30 * DAY_MS, example: '14d' };

export async function scheduleDeletion(key: string, flags: ScheduleDeletionFlags): Promise<void> {
  const waiting_period = requestSpan(parseSpan('--waiting-period', flags.waitingPeriod, WAITING_PERIOD));
  const request = { ...target(key, flags), waiting_period };
  const what = flags.kek === undefined ? key : `KEK ${flags.kek} of ${key}`;
  show(flags, await callAdmin<ScheduledDeletion>(flags, 'ScheduleKeyDeletion', request), (deletion) => {
    const who = deletion.requested_by.join(', ');
    if (!deletion.in_effect) {
      const period = span(deletion.waiting_period) ?? flags.waitingPeriod;
      return printable(
        `${who} asked to destroy ${what} after ${period}; nothing has changed yet: within 24 h another custodian must run the same: ` +
          `dekctl keys schedule-deletion ${again(key, flags)} --waiting-period ${period}`,
      );
    }
    return printable(
      `${what} will be destroyed at ${instant(deletion.deletion_at)}, as ${who} asked; until then every use is refused; ` +
        `stop it with: dekctl keys cancel-deletion ${again(key, flags)}`,
    );
  });
}

export async function cancelDeletion(key: string, flags: KekFlags): Promise<void> {
  const response = await callAdmin<{ state: string }>(flags, 'CancelKeyDeletion', target(key, flags));
  show(flags, response, ({ state }) => {
    if (flags.kek !== undefined) {
      return printable(`${kekText(key, flags.kek, state)} will not be destroyed; ${seeKeks(key)}`);
    }
    const next = state === 'KEY_STATE_DISABLED' ? `; back with: dekctl keys enable ${key}` : '';
    return printable(`${key} will not be destroyed; it is ${stateText(state)}${next}`);
  });
}
