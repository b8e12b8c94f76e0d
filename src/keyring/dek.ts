import type { SlotHandle } from '../../native/binding.d.ts';
import type { EncryptionContext } from '../crypto/context.ts';
import { type DekBlock, parseDekBlock, partitionIsIn, verifyDekBlock, wrapContext } from '../crypto/dek-block.ts';
import { type Envelope, type EnvelopePrefix, envelopePrefix, INLINE_BLOCK_OFFSET } from '../crypto/envelope.ts';
import { freeKey } from '../crypto/native.ts';
import type { DekdError } from '../errors.ts';
import { RECIPIENT_TYPES, UNPROVEN_ALGORITHMS, type WrapContext, type WrappedDek } from '../upstream/provider.ts';
import type { Cancel, Clock } from './clock.ts';
import type { Counters } from './counters.ts';
import type { Kek } from './kek.ts';
import { type KeyOptions, MAX_ALIASES } from './options.ts';
import { partitionKey } from './partition.ts';
import { keyState } from './standing.ts';

/** A recipient of a block that this key's configuration names: what may be called to unwrap the DEK. */
export interface DekRecipient {
  readonly kek: Kek;
  readonly role: 'authority' | 'standby';
  readonly wrapped: WrappedDek;
}

/** Why a refresh brought nothing: no answer, or what stood in the way otherwise; a refusal is followed up elsewhere. */
export type RefreshProblem = 'unanswered' | DekdError;

/** Where a DEK lives: `loose` is not (yet, or no more) cached by a keyring; `gone` is zeroed. */
export type DekPlace = 'loose' | 'encrypting' | 'decrypting' | 'gone';

const ID_BYTES = 32;
const BLOCK_OFFSET = ID_BYTES + 2;

/**
 * One DEK in secret memory with its public block, ages and counts. There may be many thousands, and over so many a hit costs cache misses:
 * what it reads stands first, and what can be read from the block when it is needed is not kept beside it.
 */
export class Dek {
  /** A hit before this moment needs nothing but the DEK; 0 = look at the next use. */
  attentionAtMs = 0;
  touchedAtMs = 0;
  readonly handle: SlotHandle;
  readonly options: KeyOptions;
  readonly generation: number;
  /** The key is archived, or every block of this DEK that is known is wrapped for an authority under what is archived. */
  archived = false;

  /**
   * dek_id, u16 length and block, as they stand in an envelope, one character a byte: a string is one object, where a Buffer is three and takes
   * as much again.
   */
  readonly #inline: string;
  readonly #partitionNames: readonly string[];
  /** The first value by itself: most partitions have one, and an array for it would be two more objects. */
  readonly #partitionValue: string | undefined;
  readonly #otherValues: readonly string[];
  /** Its own block is wrapped for an authority under what is archived: nothing is encrypted with it any more. */
  sealsArchived = false;

  place: DekPlace = 'loose';
  readonly counters: Counters;
  readonly createdMs: number;
  /** CLOCK_BOOTTIME when this process got it: its age as an encrypting DEK. */
  readonly loadedAtMs: number;
  recipients: readonly DekRecipient[];
  /** CLOCK_BOOTTIME when the upstream last vouched for it. */
  verifiedAtMs: number;
  verifiedBy: 'authority' | 'standby' = 'authority';
  /** Used since it was last verified: only such DEKs are refreshed in the background. */
  used = false;
  refreshDueAtMs = 0;
  /** After an outage its turn to be refreshed comes by then; until then it serves in grace, so that not all of them ask at once. */
  recoversByMs = 0;
  rotateDueAtMs = Number.POSITIVE_INFINITY;
  messages = 0;
  bytes = 0;
  /** Counts from which the next use looks after the successor. */
  softMessages = Number.POSITIVE_INFINITY;
  softBytes = Number.POSITIVE_INFINITY;
  refreshing: Promise<RefreshProblem | undefined> | undefined;
  replacing: Promise<void> | undefined;
  /** A successor could not be made: when last (CLOCK_BOOTTIME), and how often in a row the upstream refused to wrap it. */
  rotationFailedAtMs = Number.NEGATIVE_INFINITY;
  wrapRefusals = 0;
  cancelTimer: Cancel | undefined;
  #prefix: EnvelopePrefix | undefined;
  #aliases: Alias[] | undefined;

  /** `block` is one of this key, well-formed and verified; it is copied. */
  constructor(handle: SlotHandle, id: Buffer, block: Buffer, options: KeyOptions, counters: Counters, nowMs: number) {
    const length = Buffer.of(block.length >> 8, block.length & 0xff);
    this.#inline = Buffer.concat([id, length, block]).toString('latin1');
    const parsed = parseDekBlock(this.block);
    this.handle = handle;
    this.options = options;
    this.counters = counters;
    const names = [...parsed.partition.keys()];
    const usual = options.partitionBy;
    this.#partitionNames =
      names.length === usual.length && names.every((name, at) => name === usual[at]) ? usual : names;
    const [value, ...others] = parsed.partition.values();
    this.#partitionValue = value;
    this.#otherValues = others.length === 0 ? NONE : others;
    this.generation = parsed.generation;
    this.createdMs = parsed.createdMs;
    this.recipients = knownRecipients(parsed, options);
    this.loadedAtMs = nowMs;
    this.verifiedAtMs = nowMs;
    this.noteStanding();
  }

  get keyName(): string {
    return this.options.name;
  }

  /** Its 32 bytes, in a Buffer of their own. */
  get id(): Buffer {
    return Buffer.from(this.#inline.slice(0, ID_BYTES), 'latin1');
  }

  /** dek_id, u16 length and block, as every envelope with its own block has them, in a Buffer of their own. */
  get inline(): Buffer {
    return Buffer.from(this.#inline, 'latin1');
  }

  /** The verified bytes that came with it, in a Buffer of their own. */
  get block(): Buffer {
    return Buffer.from(this.#inline.slice(BLOCK_OFFSET), 'latin1');
  }

  get partition(): EncryptionContext {
    const values = [this.#partitionValue, ...this.#otherValues];
    return new Map(this.#partitionNames.map((name, at) => [name, values[at]!]));
  }

  get partitionKey(): string {
    return partitionKey(this.partition);
  }

  get wrapContext(): WrapContext {
    return wrapContext(this.keyName, this.id, this.partition);
  }

  /**
   * Every pair of the partition is in the context. The names come from the block, not from today's configuration: from the envelope's, which is one
   * that this DEK accepts. That was just read, and what is in here lies in cold memory.
   */
  belongsTo(context: EncryptionContext, { bytes }: Envelope): boolean {
    return partitionIsIn(context, bytes, INLINE_BLOCK_OFFSET, this.options.partitionBy);
  }

  /** What its envelopes begin with; made for a DEK that encrypts. */
  get prefix(): EnvelopePrefix {
    this.#prefix ??= envelopePrefix(this.options.suite, this.id, this.block);
    return this.#prefix;
  }

  /**
   * Whether a block speaks of this DEK: the held bytes, or another block (a rewrapped one) whose MAC verifies under K_block and that agrees
   * in everything but its recipients.
   */
  accepts(block: Buffer): boolean {
    if (block.equals(this.block)) return true;
    for (const alias of this.#aliases ?? []) if (block.equals(alias.block)) return true;
    if (!verifyDekBlock(this.handle, this.id, block)) return false;
    // A copy: the request's bytes are zeroed after the call.
    const copy = Buffer.from(block);
    const other = parseDekBlock(copy);
    const same =
      other.keyName === this.keyName &&
      other.createdMs === this.createdMs &&
      other.generation === this.generation &&
      partitionKey(other.partition) === this.partitionKey;
    if (!same) return false;
    this.#aliases ??= [];
    if (this.#aliases.length === MAX_ALIASES) this.#aliases.shift();
    const recipients = knownRecipients(other, this.options);
    this.#aliases.push({ block: copy, recipients });
    this.recipients = unite(this.recipients, recipients);
    this.noteStanding();
    this.counters.aliases++;
    return true;
  }

  /**
   * Sets `archived` and `sealsArchived`; called when a KEK's standing changed. Who has a block that is not archived can open all of this DEK's messages with it, so
   * one such block is enough, and nobody who sends an old block takes the DEK from the others.
   */
  noteStanding(): void {
    const aliases = this.#aliases ?? [];
    const own = aliases.length === 0 ? this.recipients : knownRecipients(parseDekBlock(this.block), this.options);
    this.sealsArchived = isArchived(own);
    // That is all that a hit compares before it encrypts.
    if (this.sealsArchived) this.attentionAtMs = 0;
    const isOpen = !this.sealsArchived || aliases.some(({ recipients }) => !isArchived(recipients));
    this.archived = !isOpen || keyState(this.options) === 'archived';
  }

  isAuthority(kek: Kek): boolean {
    return this.recipients.some((recipient) => recipient.kek === kek && recipient.role === 'authority');
  }

  uses(kek: Kek): boolean {
    return this.recipients.some((recipient) => recipient.kek === kek);
  }

  /** No recipient has answered lately, so another try would only cost time. */
  unanswered(nowMs: number): boolean {
    for (const { kek } of this.recipients) if (!kek.failedRecently(nowMs)) return false;
    return true;
  }

  /** The upstream vouched for it in a call that began at `atMs`; an older answer that comes later changes nothing. */
  verified(atMs: number, by: 'authority' | 'standby', clock: Clock): void {
    if (atMs < this.verifiedAtMs) return;
    this.verifiedAtMs = atMs;
    this.verifiedBy = by;
    this.used = false;
    this.attentionAtMs = 0;
    this.refreshDueAtMs = atMs + refreshDelayMs(this.options.cache.ttlMs, clock.random());
    this.recoversByMs = 0;
    this.cancelTimer?.();
    this.cancelTimer = undefined;
  }

  /** Zeroes it. Safe to call twice. */
  free(): void {
    if (this.place === 'gone') return;
    this.place = 'gone';
    this.cancelTimer?.();
    freeKey(this.handle);
  }
}

const NONE: readonly string[] = [];

/** Another block of the same DEK, verified. */
interface Alias {
  readonly block: Buffer;
  readonly recipients: readonly DekRecipient[];
}

export function isArchived(recipients: readonly DekRecipient[]): boolean {
  return recipients.some(({ kek: { standing }, role, wrapped }) => {
    if (role !== 'authority') return false;
    return standing.state === 'archived' || standing.archivedVersions.has(wrapped.kekVersion);
  });
}

/** 0.8–0.9 of ttl, at least 2 s before its end, never before half of it. */
export function refreshDelayMs(ttlMs: number, random: number): number {
  return Math.max(ttlMs / 2, Math.min(ttlMs * (0.8 + 0.1 * random), ttlMs - 2_000));
}

/** The recipients that this key's configuration names and allows, in the order in which they are asked: authorities, then standbys. Views of the block. */
export function knownRecipients(block: DekBlock, options: KeyOptions): DekRecipient[] {
  const authorities: DekRecipient[] = [];
  const standbys: DekRecipient[] = [];
  for (const recipient of block.recipients) {
    const found = configured(recipient.type, recipient.kekUri, options);
    if (found === undefined || found.role === 'recovery' || !isOriginAllowed(recipient, found.kek)) continue;
    const wrapped = {
      kekVersion: recipient.kekVersion,
      algorithm: recipient.wrapAlgorithm,
      bytes: recipient.wrapped,
    };
    (found.role === 'authority' ? authorities : standbys).push({ kek: found.kek, role: found.role, wrapped });
  }
  return [...authorities, ...standbys];
}

/** Who has an RSA key's public half can wrap a DEK of their own: that counts only where the configuration says that it may. */
function isOriginAllowed({ wrapAlgorithm }: DekBlock['recipients'][number], { upstream }: Kek): boolean {
  return upstream.allowsUnprovenOrigin === true || !UNPROVEN_ALGORITHMS.includes(wrapAlgorithm);
}

function configured(
  type: number,
  uri: string,
  options: KeyOptions,
): { kek: Kek; role: 'authority' | 'standby' | 'recovery' } | undefined {
  const matches = (kek: Kek): boolean => kek.uri === uri && RECIPIENT_TYPES[kek.upstream.type] === type;
  const current = options.recipients.find((recipient) => matches(recipient.kek));
  if (current !== undefined) return current;
  const retired = options.decryptWith.find(matches);
  return retired === undefined ? undefined : { kek: retired, role: 'authority' };
}

function unite(known: readonly DekRecipient[], more: readonly DekRecipient[]): DekRecipient[] {
  const fresh = more.filter(
    (one) => !known.some((old) => old.kek === one.kek && old.wrapped.kekVersion === one.wrapped.kekVersion),
  );
  const all = [...known, ...fresh];
  return [...all.filter((one) => one.role === 'authority'), ...all.filter((one) => one.role === 'standby')];
}
