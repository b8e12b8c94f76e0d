import { invalidField } from '../errors.ts';
import { systemClock } from '../keyring/clock.ts';
import { graceMs, rotationOverdue } from '../keyring/decide.ts';
import type { Dek } from '../keyring/dek.ts';
import type { Keyring } from '../keyring/keyring.ts';
import type { Keyrings } from '../keyring/keyrings.ts';
import { duration, timestamp } from './time.ts';

const DEFAULT_DEKS = 1_000;
const MAX_DEKS = 10_000;
/** A DekStatus on the wire, without its partition, is shorter. */
const DEK_BYTES = 256;
/** Of the 4 MiB that clients take; the keys and their counters need the rest. */
const MAX_PAGE_BYTES = 2 * 1024 * 1024;
/** The end of the year 9999, where google.protobuf.Timestamp ends; a block may claim any 64-bit number. */
const LAST_TIMESTAMP_MS = 253_402_300_799_999;

/**
 * One page of all DEKs of the visible keys. There may be a hundred thousand: the counts are of all, the list is cut, and the token says how
 * many were listed before.
 */
export class DekPage {
  readonly #keyrings: Keyrings;
  readonly #nowMs = systemClock.bootMs();
  #skip: number;
  #room: number;
  #bytes = MAX_PAGE_BYTES;
  #listed: number;
  #cut = false;

  constructor(maxDeks: number, token: string, keyrings: Keyrings) {
    if (maxDeks > MAX_DEKS) throw invalidField('max_deks', `is ${maxDeks}; 1 to ${MAX_DEKS} are allowed`);
    if (!/^\d{0,9}$/.test(token)) throw invalidField('page_token', 'is not one of this agent’s answers');
    this.#room = maxDeks === 0 ? DEFAULT_DEKS : maxDeks;
    this.#skip = Number(token);
    this.#listed = this.#skip;
    this.#keyrings = keyrings;
  }

  /** Empty when there are no more. */
  get nextToken(): string {
    return this.#cut ? String(this.#listed) : '';
  }

  /** The next key's counts, and its DEKs that are on this page. */
  take(keyring: Keyring): object {
    const counts = { encrypting: 0, decrypting: 0, inGrace: 0, overdue: 0, refused: 0 };
    let oldestMs = Number.POSITIVE_INFINITY;
    let graceEndsMs = Number.POSITIVE_INFINITY;
    const deks: object[] = [];
    for (const dek of keyring.all()) {
      const inGrace = this.#keyrings.inGrace(dek, this.#nowMs);
      const overdue = dek.place === 'encrypting' && rotationOverdue(dek, this.#nowMs);
      const refused = this.#keyrings.refusalPending(dek);
      if (dek.place === 'encrypting') counts.encrypting++;
      else counts.decrypting++;
      if (inGrace) {
        counts.inGrace++;
        graceEndsMs = Math.min(graceEndsMs, dek.verifiedAtMs + dek.options.cache.ttlMs + graceMs(dek));
      }
      if (overdue) counts.overdue++;
      if (refused) counts.refused++;
      oldestMs = Math.min(oldestMs, dek.verifiedAtMs);
      if (this.#takes(dek)) deks.push(dekStatus(dek, this.#nowMs, { inGrace, overdue, refused }));
    }
    return {
      deks,
      encrypting_deks: String(counts.encrypting),
      decrypting_deks: String(counts.decrypting),
      deks_in_grace: String(counts.inGrace),
      rotations_overdue: String(counts.overdue),
      refusals_pending: String(counts.refused),
      grace_left: Number.isFinite(graceEndsMs) ? duration(graceEndsMs - this.#nowMs) : undefined,
      oldest_verification_age: Number.isFinite(oldestMs) ? duration(this.#nowMs - oldestMs) : undefined,
    };
  }

  #takes(dek: Dek): boolean {
    if (this.#skip > 0) {
      this.#skip--;
      return false;
    }
    if (this.#cut) return false;
    let bytes = DEK_BYTES;
    for (const [name, value] of dek.partition) bytes += 16 + Buffer.byteLength(name) + Buffer.byteLength(value);
    if (this.#room === 0 || bytes > this.#bytes) {
      this.#cut = true;
      return false;
    }
    this.#room--;
    this.#bytes -= bytes;
    this.#listed++;
    return true;
  }
}

interface Troubles {
  readonly inGrace: boolean;
  readonly overdue: boolean;
  readonly refused: boolean;
}

function dekStatus(dek: Dek, nowMs: number, { inGrace, overdue, refused }: Troubles): object {
  const rotationInMs = dek.place === 'encrypting' ? Math.max(0, dek.rotateDueAtMs - nowMs) : Number.POSITIVE_INFINITY;
  return {
    dek_id: dek.id.toString('hex'),
    class: dek.place,
    partition: Object.fromEntries(dek.partition),
    created_at: dek.createdMs > LAST_TIMESTAMP_MS ? undefined : timestamp(dek.createdMs),
    age: duration(nowMs - dek.loadedAtMs),
    verification_age: duration(nowMs - dek.verifiedAtMs),
    verified_by: dek.verifiedBy,
    messages: String(dek.messages),
    bytes: String(dek.bytes),
    rotation_overdue: overdue,
    refusal_pending: refused,
    in_grace: inGrace,
    archived: dek.archived,
    rotation_in: Number.isFinite(rotationInMs) ? duration(rotationInMs) : undefined,
  };
}
