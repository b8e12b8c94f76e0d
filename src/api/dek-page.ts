import { invalidField } from '../errors.ts';
import { systemClock } from '../keyring/clock.ts';
import { rotationOverdue } from '../keyring/decide.ts';
import type { Dek } from '../keyring/dek.ts';
import type { Keyring } from '../keyring/keyring.ts';
import type { Keyrings } from '../keyring/keyrings.ts';
import { duration, timestamp } from './time.ts';

const DEFAULT_DEKS = 1_000;
const MAX_DEKS = 10_000;
/** A DekStatus on the wire, without its partition, is shorter. */
const DEK_BYTES = 256;
/** The end of the year 9999, where google.protobuf.Timestamp ends; a block may claim any 64-bit number. */
const LAST_TIMESTAMP_MS = 253_402_300_799_999;

/** One page of all DEKs of the visible keys. There may be a hundred thousand; the token says how many were listed before. */
export class DekPage {
  readonly #keyrings: Keyrings;
  readonly #nowMs = systemClock.bootMs();
  #skip: number;
  #room: number;
  #bytes: number;
  #listed: number;
  #cut = false;

  /** `maxBytes`: of the page on the wire, and at least as many as one DEK takes. */
  constructor(maxDeks: number, token: string, maxBytes: number, keyrings: Keyrings) {
    if (maxDeks > MAX_DEKS) throw invalidField('max_deks', `is ${maxDeks}; 1 to ${MAX_DEKS} are allowed`);
    if (!/^\d{0,9}$/.test(token)) throw invalidField('page_token', 'is not one of this agent’s answers');
    this.#room = maxDeks === 0 ? DEFAULT_DEKS : maxDeks;
    this.#skip = Number(token);
    this.#listed = this.#skip;
    this.#bytes = maxBytes;
    this.#keyrings = keyrings;
  }

  /** Empty when there are no more. */
  get nextToken(): string {
    return this.#cut ? String(this.#listed) : '';
  }

  /** The next key's DEKs that are on this page. */
  take(keyring: Keyring): object[] {
    const deks: object[] = [];
    // Of a hundred thousand, those before the page are not looked at one by one, nor those behind it.
    const held = keyring.encrypting.size + keyring.decrypting.size;
    if (this.#skip >= held) {
      this.#skip -= held;
      return deks;
    }
    if (this.#cut) return deks;
    for (const dek of keyring.all()) {
      if (this.#skip > 0) this.#skip--;
      else if (this.#takes(dek)) deks.push(this.#status(dek));
      else break;
    }
    return deks;
  }

  #takes(dek: Dek): boolean {
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

  #status(dek: Dek): object {
    const nowMs = this.#nowMs;
    const isEncrypting = dek.place === 'encrypting';
    const rotationInMs = isEncrypting ? Math.max(0, dek.rotateDueAtMs - nowMs) : Number.POSITIVE_INFINITY;
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
      rotation_overdue: isEncrypting && rotationOverdue(dek, nowMs),
      refusal_pending: this.#keyrings.refusalPending(dek),
      in_grace: this.#keyrings.inGrace(dek, nowMs),
      archived: dek.archived,
      rotation_in: Number.isFinite(rotationInMs) ? duration(rotationInMs) : undefined,
    };
  }
}
