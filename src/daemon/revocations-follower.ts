import { createHash } from 'node:crypto';
import type { RevocationsFacts } from '../api/administration.ts';
import type { Config } from '../config/config.ts';
import {
  parseRevocations,
  type RevocationConfig,
  type RevocationsConfig,
  readRevocations,
} from '../config/revocations.ts';
import { DekdError } from '../errors.ts';
import type { Cancel, Clock } from '../keyring/clock.ts';
import type { Keyrings } from '../keyring/keyrings.ts';
import type { Logger } from '../telemetry/logger.ts';
import { EVENTS } from '../telemetry/names.ts';

const LOOK_EVERY_MS = 1_000;
/** A file system that takes longer to give a small file hangs. */
const OVERDUE_MS = 10_000;
/** Entries that one line of the log names. */
const MAX_LOGGED = 20;

export interface RevocationsParts {
  readonly file: string;
  readonly keys: Config['keys'];
  readonly keyrings: Pick<Keyrings, 'revoke'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Looks at the file of revocations every second, by its content, so that it does not matter how it was changed. What it adds is in force at
 * once; what it takes out only when the next look sees the same, since somebody may be in the middle of writing it. Whatever is wrong with
 * it leaves in force what was.
 */
export class RevocationsFollower {
  readonly #parts: RevocationsParts;
  /** What the last look found: the text, or why there was none. */
  #seen = '';
  /** What stands in a file that is right, and takes something out. */
  #settling: readonly RevocationConfig[] | undefined;
  #inForce: readonly RevocationConfig[] = [];
  #said: RevocationsConfig = { revoked: [], warnings: [] };
  #problem: { readonly text: string; readonly sinceMs: number } | undefined;
  #lookedAtMs = 0;
  #sha256 = '';
  #changedAtMs = 0;
  #cancel: Cancel | undefined;
  #stopped = false;

  constructor(parts: RevocationsParts) {
    this.#parts = parts;
  }

  /** The first look, before anything is served. Throws DekdError INVALID_REQUEST for whatever is wrong with the file. */
  async start(): Promise<void> {
    const { file, keys, clock } = this.#parts;
    const text = await readRevocations(file);
    this.#changedAtMs = clock.wallMs();
    this.#lookedAtMs = clock.bootMs();
    this.#take(text, parseRevocations(text, file, keys));
    this.#seen = text;
    this.#lookLater();
  }

  /** One look, as one is made every second. Never rejects. */
  async look(): Promise<void> {
    const { file, keys, clock } = this.#parts;
    const seen = await readRevocations(file).catch(DekdError.from);
    if (this.#stopped) return;
    this.#lookedAtMs = clock.bootMs();
    const found = seen instanceof DekdError ? seen.message : seen;
    if (found === this.#seen) return this.#settle();
    this.#seen = found;
    this.#settling = undefined;
    try {
      if (seen instanceof DekdError) throw seen;
      this.#take(seen, parseRevocations(seen, file, keys));
    } catch (thrown) {
      this.#refuse(DekdError.from(thrown).message);
    }
  }

  /** From now on the file is not looked at. */
  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  get facts(): RevocationsFacts {
    const { file, clock } = this.#parts;
    return {
      file,
      entries: this.#inForce.length,
      changedAt: this.#changedAtMs,
      sha256: this.#sha256,
      lookedAt: clock.wallMs() - (clock.bootMs() - this.#lookedAtMs),
    };
  }

  /** For status, without the name of any key. */
  get warnings(): readonly string[] {
    const { file, clock } = this.#parts;
    const lateMs = clock.bootMs() - this.#lookedAtMs;
    const problem = this.#problem;
    return [
      ...(problem === undefined
        ? []
        : [`${file}: wrong since ${instant(problem.sinceMs)}; what it said before stays in force`]),
      ...(lateMs <= OVERDUE_MS
        ? []
        : [
            `${file}: could not be looked at since ${instant(clock.wallMs() - lateMs)}: its file system does not answer`,
          ]),
    ];
  }

  /** The same, which may name keys: what is wrong with the file, or else hardly meant. */
  get namedWarnings(): readonly string[] {
    return this.#problem === undefined ? this.#said.warnings : this.#problem.text.split('\n');
  }

  #lookLater(): void {
    this.#cancel = this.#parts.clock.after(LOOK_EVERY_MS, () => {
      void this.look().finally(() => {
        if (!this.#stopped) this.#lookLater();
      });
    });
  }

  #take(text: string, said: RevocationsConfig): void {
    const { file, logger } = this.#parts;
    if (this.#problem !== undefined)
      logger.info({ event: EVENTS.revocationsRight, file }, 'the revocations file is right again');
    this.#problem = undefined;
    this.#said = said;
    this.#sha256 = createHash('sha256').update(text).digest('hex');
    for (const warning of said.warnings) logger.warn({ event: EVENTS.warning }, warning);
    const removed = without(this.#inForce, said.revoked);
    if (removed.length > 0) this.#settling = said.revoked;
    this.#enforce([...said.revoked, ...removed]);
  }

  #settle(): void {
    const settled = this.#settling;
    this.#settling = undefined;
    if (settled !== undefined) this.#enforce(settled);
  }

  #refuse(text: string): void {
    const { file, clock, logger } = this.#parts;
    this.#problem = { text, sinceMs: this.#problem?.sinceMs ?? clock.wallMs() };
    const fields = { event: EVENTS.revocationsWrong, file, entries: this.#inForce.length };
    logger.error(fields, `the revocations file is wrong; what it said before stays in force: ${text}`);
  }

  #enforce(revoked: readonly RevocationConfig[]): void {
    const { file, keyrings, logger } = this.#parts;
    const added = without(revoked, this.#inForce);
    const removed = without(this.#inForce, revoked);
    this.#inForce = revoked;
    if (added.length === 0 && removed.length === 0) return;
    this.#changedAtMs = this.#parts.clock.wallMs();
    const purgedDeks = keyrings.revoke(revoked, file);
    const fields = { file, entries: revoked.length, added: logged(added), removed: logged(removed), purgedDeks };
    logger.warn({ event: EVENTS.revocationsChanged, ...fields }, 'keys and partitions that are revoked');
  }
}

/** Those of a list that another does not have. */
function without(list: readonly RevocationConfig[], other: readonly RevocationConfig[]): RevocationConfig[] {
  const known = new Set(other.map(identity));
  return list.filter((one) => !known.has(identity(one)));
}

function identity({ key, partition }: RevocationConfig): string {
  return JSON.stringify([key, partition === undefined ? undefined : [...partition].sort()]);
}

function logged(list: readonly RevocationConfig[]): object[] {
  const shown = list.slice(0, MAX_LOGGED).map(({ key, partition }) => ({
    key,
    ...(partition === undefined ? {} : { partition: Object.fromEntries(partition) }),
  }));
  return list.length > MAX_LOGGED ? [...shown, { more: list.length - MAX_LOGGED }] : shown;
}

function instant(unixMs: number): string {
  return new Date(unixMs).toISOString();
}
