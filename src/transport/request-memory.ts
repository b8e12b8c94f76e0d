/**
 * Bytes of requests that all servers of this process hold, from a message's first bytes to the end of its call, shared so that who
 * takes much hurts itself first:
 *
 *  - each connection may always hold OWN_BYTES, so that small calls go on whatever others do;
 *  - of what is left of the rest, one uid may come to hold three quarters, and one connection three quarters of what its uid may.
 *
 * So n uids that take all they can still leave a quarter to the power of n to the next one, and none needs to know of the others.
 */
export class RequestMemory {
  readonly limitBytes: number;
  readonly #byUid = new Map<number, number>();
  #sharedBytes = 0;
  #takenBytes = 0;

  /** `limitBytes`: what is shared; the connections' own bytes come on top. */
  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  /** Held now, shared or not. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** What a new connection of `uid` takes from. */
  connection(uid: number): ConnectionMemory {
    return new ConnectionMemory((shared, change, connectionShared) => {
      if (change > 0 && !this.#fits(uid, shared, connectionShared)) return false;
      this.#takenBytes += change;
      this.#sharedBytes += shared;
      const held = this.#shared(uid) + shared;
      if (held === 0) this.#byUid.delete(uid);
      else this.#byUid.set(uid, held);
      return true;
    });
  }

  #fits(uid: number, bytes: number, connectionBytes: number): boolean {
    if (bytes === 0) return true;
    const uidRoom = roomOf(this.limitBytes - this.#sharedBytes, this.#shared(uid));
    return bytes <= roomOf(uidRoom, connectionBytes);
  }

  #shared(uid: number): number {
    return this.#byUid.get(uid) ?? 0;
  }
}

/** Moves what is held: `shared` bytes of the pool, `change` bytes in all, of which the connection holds `connectionShared` already. */
type Account = (shared: number, change: number, connectionShared: number) => boolean;

/** 64 calls of 256 bytes, as many as a connection has streams. */
const OWN_BYTES = 16 * 1024;

/** What holders leave of the free bytes. */
const LEFT_SHARE = 1 / 4;

/** How much more a holder of `heldBytes` may take of `freeBytes`, so that it then holds no more than three times of what it leaves. */
function roomOf(freeBytes: number, heldBytes: number): number {
  return (1 - LEFT_SHARE) * freeBytes - LEFT_SHARE * heldBytes;
}

/** One connection's part of RequestMemory. */
export class ConnectionMemory {
  readonly #account: Account;
  #takenBytes = 0;

  constructor(account: Account) {
    this.#account = account;
  }

  /** False, and nothing taken, when this connection has its share. */
  take(bytes: number): boolean {
    return this.#move(bytes);
  }

  /** Gives back what was taken. */
  release(bytes: number): void {
    this.#move(-bytes);
  }

  #move(change: number): boolean {
    const before = Math.max(0, this.#takenBytes - OWN_BYTES);
    const after = Math.max(0, this.#takenBytes + change - OWN_BYTES);
    if (!this.#account(after - before, change, before)) return false;
    this.#takenBytes += change;
    return true;
  }
}
