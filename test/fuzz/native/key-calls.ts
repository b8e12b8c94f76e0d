import { randomBytes, scryptSync } from 'node:crypto';
import { type ArenaStatus, arenaStatus, dekId, type SlotHandle } from '../../../src/crypto/native.ts';
import { type Case, type EntryPoint, expect, expectBytes, expectEqual } from './case.ts';
import { oddView } from './hostile.ts';
import type { Key, Model } from './model.ts';
import { derive, hkdf } from './reference.ts';

const LENGTHS = [1, 31, 32, 32, 32, 33, 64, 127, 128];

/** Entry points that make, read and end keys. */
export const KEY_CALLS: Readonly<Record<string, EntryPoint>> = {
  openArena: { make: () => ({ args: [reentrantOptions()], roles: ['options'], check: checkStatus }) },
  arenaStatus: { make: (model) => ({ args: [], roles: [], check: (status) => checkShares(status, model) }) },
  createKey: { make: createKey },
  readKey: { make: readKey },
  readPassphraseKey: { make: readPassphraseKey },
  freeKey: { make: freeKey },
  deriveKey: { make: deriveKey },
  dekId: { make: dekIdCall },
};

/** The only place where the caller's code may run inside a call: it calls again. */
function reentrantOptions(): object {
  return {
    lock: 'best-effort',
    get size() {
      arenaStatus();
      return 4096;
    },
  };
}

function checkStatus(status: ArenaStatus): void {
  const { kind, size, slots, slotsUsed, sealed, maxSealed, free } = status;
  expect(['memfd_secret', 'mlock', 'unlocked'].includes(kind), `kind ${kind}`);
  const isSound =
    slotsUsed >= 0 && slotsUsed <= slots && slots < size && sealed >= 0 && sealed <= maxSealed && free >= 0;
  expect(isSound, `status ${JSON.stringify(status)}`);
}

function checkShares(status: ArenaStatus, model: Model): void {
  checkStatus(status);
  expect(status.slotsUsed + status.sealed >= model.keys.length, 'fewer keys are in use than this thread holds');
}

function createKey(model: Model): Case {
  const kind = model.random.chance(1, 2) ? 'dek' : 'raw';
  const check = (handle: SlotHandle): void => model.add(handle, kind, 32, undefined);
  return { args: [kind], roles: ['kind'], check, makes: kind };
}

function readKey(model: Model, place: { withFile: unknown; folderFd: number }): Case {
  const kind = model.random.chance(1, 2) ? 'dek' : 'raw';
  const length = kind === 'dek' ? 32 : model.random.pick(LENGTHS);
  const roles = ['fd', 'kind', 'number'] as const;
  if (model.random.chance(1, 20))
    return { args: [place.folderFd, kind, length], roles, fails: 'ERR_SYSTEM', makes: kind };
  const excess = model.random.chance(1, 8) ? model.random.pick([-1, 1, 500]) : 0;
  const bytes = randomBytes(length + excess);
  return {
    args: [new FileOf(bytes), kind, length],
    roles,
    fails: excess === 0 ? undefined : 'ERR_KEY_LENGTH',
    check: (handle: SlotHandle) => model.add(handle, kind, length, bytes),
    makes: kind,
  };
}

/** Stands for a descriptor of a file with these bytes, opened for the call alone. */
export class FileOf {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** The bytes when it is one: without a look that would spring a trap. */
  static bytesOf(value: unknown): Uint8Array | undefined {
    return typeof value === 'object' && value !== null && #bytes in value ? value.#bytes : undefined;
  }
}

function readPassphraseKey(model: Model): Case | undefined {
  const { random } = model;
  // A millisecond each.
  if (!random.chance(1, 10)) return undefined;
  const length = random.pick([0, 7, 8, 9, 64, 65, 1023, 1024, 1025, 1026]);
  const passphrase = Buffer.alloc(length, 'passphrase ');
  const isNewline = random.chance(1, 2);
  const salt = model.view(random.below(40));
  const [r, p] = [1 + random.below(3), 1 + random.below(2)];
  return {
    args: [new FileOf(isNewline ? Buffer.concat([passphrase, Buffer.from('\n')]) : passphrase), salt, 10, r, p],
    roles: ['fd', 'bytes', 'number', 'number', 'number'],
    fails: length < 8 || length > 1024 ? 'ERR_KEY_LENGTH' : undefined,
    check: (handle: SlotHandle) => model.add(handle, 'raw', 32, scryptSync(passphrase, salt, 32, { N: 1024, r, p })),
    makes: 'raw',
  };
}

function freeKey(model: Model): Case | undefined {
  const key = model.key(() => true);
  if (key === undefined || (!model.isFull && model.random.chance(3, 4))) return undefined;
  return { args: [key.handle], roles: ['anyKey'], check: () => model.remove(key) };
}

function deriveKey(model: Model): Case | undefined {
  const key = model.raw();
  if (key === undefined) return undefined;
  const [salt, info] = [model.view(model.random.below(80)), model.view(model.random.below(300))];
  const length = model.random.pick(LENGTHS);
  const bytes = key.bytes === undefined ? undefined : hkdf(key.bytes, salt, info, length);
  return {
    args: [key.handle, oddView(salt, model), info, length],
    roles: ['raw', 'bytes', 'bytes', 'number'],
    check: (handle: SlotHandle) => model.add(handle, 'raw', length, bytes),
    makes: 'raw',
  };
}

function dekIdCall(model: Model): Case | undefined {
  const key = model.dek();
  if (key === undefined) return undefined;
  const check = (id: Buffer): void => {
    expectEqual(id.length, 32, 'length of dek_id');
    expectBytes(id, knownId(key), 'dek_id');
  };
  return { args: [key.handle], roles: ['dek'], check };
}

/** From the key's bytes; of a key that nobody has seen, what the addon says. */
export function knownId(key: Key): Buffer {
  return key.bytes === undefined ? dekId(key.handle) : derive(key.bytes, 'dek-id');
}
