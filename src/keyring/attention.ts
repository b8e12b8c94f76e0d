import { decide, rotationOverdue, type Verdict } from './decide.ts';
import type { Dek } from './dek.ts';
import type { EncryptingDeks } from './encrypting-deks.ts';
import type { Shared } from './shared.ts';

/** Looks after one key's DEKs at their use, when something may be due: refresh, successor, and when to look again. */
export class Attention {
  readonly #encrypting: EncryptingDeks;
  readonly #shared: Shared;

  constructor(encrypting: EncryptingDeks, shared: Shared) {
    this.#encrypting = encrypting;
    this.#shared = shared;
  }

  /** Whether the DEK may serve, and how. */
  attend(dek: Dek, nowMs: number): Verdict {
    const { refresher, refusals } = this.#shared;
    const verdict = decide(dek, nowMs, refusals.covering(dek));
    const isFirst = !dek.used;
    dek.used = true;
    if (verdict !== 'serve') return verdict;
    // Past ttl the use itself asks, and a timer would ask beside it.
    if (isFirst) refresher.arm(dek, nowMs);
    dek.attentionAtMs = nextAttentionMs(dek, nowMs);
    return verdict;
  }

  /** As `attend`, for a DEK that encrypts: has a successor made when it is due; `refresh` when it must not encrypt before one was tried for. */
  attendEncrypting(dek: Dek, nowMs: number): Verdict {
    return this.#succeed(dek, nowMs) ? this.attend(dek, nowMs) : 'refresh';
  }

  /** Its time to encrypt is over and nothing says that a successor can't be had. */
  mustReplace(dek: Dek): boolean {
    const nowMs = this.#shared.clock.bootMs();
    if (!rotationOverdue(dek, nowMs)) return false;
    return !this.#encrypting.replacedInVain(dek, nowMs) && !dek.unanswered(nowMs);
  }

  #succeed(dek: Dek, nowMs: number): boolean {
    if (dek.sealsArchived) return false;
    const due = nowMs >= dek.rotateDueAtMs || dek.messages >= dek.softMessages || dek.bytes >= dek.softBytes;
    if (!due) return true;
    if (this.mustReplace(dek)) return false;
    if (!this.#encrypting.replacedInVain(dek, nowMs)) void this.#encrypting.replace(dek);
    const { maxMessages, maxBytes } = dek.options.cache;
    dek.softMessages = nextLook(dek.messages, maxMessages);
    dek.softBytes = nextLook(dek.bytes, maxBytes);
    return true;
  }
}

/** From 0.9 of a limit on, the use is looked at every hundredth of it, and at the limit itself. */
function nextLook(count: number, max: number): number {
  const next = count + Math.ceil(max / 100);
  return count < max ? Math.min(next, max) : next;
}

/** The next moment at which something is due; until then a hit only compares two numbers. */
function nextAttentionMs(dek: Dek, nowMs: number): number {
  let next = dek.verifiedAtMs + dek.options.cache.ttlMs;
  if (dek.place !== 'encrypting') return next;
  if (dek.sealsArchived) return 0;
  for (const due of [dek.rotateDueAtMs, dek.loadedAtMs + dek.options.cache.rotateAfterMs]) {
    // Due and not done: look again soon.
    next = Math.min(next, due > nowMs ? due : nowMs + 1_000);
  }
  return Math.floor(next);
}
