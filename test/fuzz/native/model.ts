import type { SlotHandle, SlotKind } from '../../../src/crypto/native.ts';
import type { Random } from '../random.ts';
import { derive } from './reference.ts';

/** A live key of this thread; its bytes when they are known. */
export interface Key {
  readonly handle: SlotHandle;
  readonly kind: SlotKind;
  readonly length: number;
  readonly bytes: Buffer | undefined;
}

/** Something that was sealed under a key of the model. */
export interface Message {
  readonly key: Key;
  readonly use: number;
  readonly suite: number;
  readonly aad: Buffer;
  readonly plaintext: Buffer;
  readonly sealed: Buffer;
}

export interface Wrapped {
  readonly kek: Key;
  readonly suite: number;
  readonly aad: Buffer;
  readonly wrapped: Buffer;
  readonly bytes: Buffer | undefined;
  /** Of the key that was wrapped: the same for whatever is unwrapped as a DEK. */
  readonly dekId: Buffer | undefined;
}

const MAX_KEYS = 60;
const MAX_KEPT = 40;

/** What one thread knows: from it follows what each call must do. */
export class Model {
  readonly random: Random;
  /** Kinds of keys for which the arena may have no room: other threads take it too. */
  readonly scarce: readonly SlotKind[];
  readonly keys: Key[] = [];
  readonly stale: number[] = [0];
  readonly messages: Message[] = [];
  readonly wrapped: Wrapped[] = [];

  constructor(random: Random, scarce: readonly SlotKind[]) {
    this.random = random;
    this.scarce = scarce;
  }

  get isFull(): boolean {
    return this.keys.length >= MAX_KEYS;
  }

  add(handle: unknown, kind: SlotKind, length: number, bytes: Buffer | undefined): void {
    if (typeof handle !== 'number' || !Number.isSafeInteger(handle) || handle < 2 ** 20) {
      throw new Error(`not a handle: ${String(handle)}`);
    }
    if (this.keys.some((key) => key.handle === handle)) throw new Error('a handle that is in use was given out again');
    if (this.stale.includes(handle)) throw new Error('a stale handle was given out again');
    this.keys.push({ handle: handle as SlotHandle, kind, length, bytes });
  }

  remove(key: Key): void {
    this.keys.splice(this.keys.indexOf(key), 1);
    this.stale.push(key.handle);
    if (this.stale.length > 200) this.stale.splice(1, 1);
    this.#forget(key);
  }

  /** A key that `matches`; undefined when there is none. */
  key(matches: (key: Key) => boolean): Key | undefined {
    const found = this.keys.filter(matches);
    return found.length === 0 ? undefined : this.random.pick(found);
  }

  dek(): Key | undefined {
    return this.key(({ kind }) => kind === 'dek');
  }

  raw(): Key | undefined {
    return this.key(({ kind }) => kind === 'raw');
  }

  /** Fit for wrapping under, and for USE_RAW. */
  kek(): Key | undefined {
    return this.key(isKek);
  }

  remember(message: Message): void {
    this.messages.push(message);
    if (this.messages.length > MAX_KEPT) this.messages.shift();
  }

  rememberWrapped(wrapped: Wrapped): void {
    this.wrapped.push(wrapped);
    if (this.wrapped.length > MAX_KEPT) this.wrapped.shift();
  }

  /** Lengths around the edges of blocks and of small buffers, and now and then a long one. */
  length(): number {
    const { random } = this;
    if (random.chance(1, 50)) return 65_536 + random.below(3);
    return random.pick([0, 1, 15, 16, 17, 31, 32, 33, 64, 255, 256, random.below(1500)]);
  }

  /** A view that lies somewhere in a larger buffer of its own. */
  view(length: number, fill?: Buffer): Buffer {
    const { random } = this;
    const before = random.below(20);
    const bytes = Buffer.alloc(before + length + random.below(20), random.below(256));
    const view = bytes.subarray(before, before + length);
    if (fill === undefined) for (let at = 0; at < length; at += 7) view[at] = random.below(256);
    else fill.copy(view);
    return view;
  }

  #forget(key: Key): void {
    for (const list of [this.messages as { key?: Key; kek?: Key }[], this.wrapped as { key?: Key; kek?: Key }[]]) {
      for (let at = list.length - 1; at >= 0; at--) {
        const one = list[at]!;
        if (one.key === key || one.kek === key) list.splice(at, 1);
      }
    }
  }
}

export function isKek({ kind, length }: Key): boolean {
  return kind === 'raw' && length === 32;
}

/** The 32 bytes that `use` works with; undefined when they are not known. */
export function keyBytes(key: Key, use: number): Buffer | undefined {
  if (key.bytes === undefined || use === 0) return key.bytes;
  return derive(key.bytes, use === 1 ? 'message' : 'data-key');
}
