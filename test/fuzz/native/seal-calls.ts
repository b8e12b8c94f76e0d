import { randomBytes } from 'node:crypto';
import { freeKey } from '../../../src/crypto/native.ts';
import { type Case, type EntryPoint, expect, expectBytes, expectEqual } from './case.ts';
import { detach, oddView } from './hostile.ts';
import { type Key, keyBytes, type Message, type Model } from './model.ts';
import { NONCE_BYTES, openElsewhere, sealElsewhere, TAG_BYTES } from './reference.ts';

/** Entry points that seal and open messages. */
export const SEAL_CALLS: Readonly<Record<string, EntryPoint>> = {
  seal: { make: seal },
  open: { make: open },
  sealAsync: { make: sealAsync, isAsync: true },
  openAsync: { make: openAsync, isAsync: true },
  sealDataKey: { make: sealDataKey },
};

const CANARY = 0xa5;
const NOTHING = new Uint8Array(0);
const SEAL_ROLES = ['suite', 'bytes', 'within', 'bytes', 'bytes', 'within'] as const;

interface Choice {
  readonly key: Key;
  readonly use: number;
  readonly suite: number;
  readonly aad: Buffer;
  /** The aad argument is longer than what is used of it. */
  readonly aadArgument: Buffer;
}

function choose(model: Model, use = model.random.below(3)): Choice | undefined {
  const key = use === 0 ? model.kek() : model.dek();
  if (key === undefined) return undefined;
  const aadArgument = model.view(model.random.below(300));
  const aad = Buffer.from(aadArgument.subarray(0, model.random.below(aadArgument.length + 1)));
  return { key, use, suite: 1 + model.random.below(2), aad, aadArgument };
}

function seal(model: Model): Case | undefined {
  const choice = choose(model);
  if (choice === undefined) return undefined;
  const plaintext = model.view(model.length());
  const offset = model.random.below(60);
  const needed = overhead(choice.suite) + plaintext.length;
  const out = Buffer.alloc(offset + needed + model.random.below(20), CANARY);
  return {
    args: [
      choice.key.handle,
      choice.use,
      choice.suite,
      choice.aadArgument,
      choice.aad.length,
      oddView(plaintext, model),
      out,
      offset,
    ],
    roles: [role(choice.use), 'use', ...SEAL_ROLES],
    outputs: [out],
    refused: () => {
      const { handle } = choice.key;
      const shared = Buffer.alloc(200);
      const place = model.random.below(3);
      // One byte too few; an output that begins within the plaintext; one that ends there.
      if (place === 0) return [handle, choice.use, choice.suite, NOTHING, 0, plaintext, out, out.length - needed + 1];
      const source = shared.subarray(place === 1 ? 0 : 50).subarray(0, 32);
      return [handle, choice.use, choice.suite, NOTHING, 0, source, shared, place === 1 ? 31 : 0];
    },
    check: (written: number) => {
      expectEqual(written, needed, 'bytes written');
      expect(isCanary(out.subarray(0, offset)) && isCanary(out.subarray(offset + written)), 'wrote beside its output');
      sealed(model, {
        ...choice,
        plaintext: Buffer.from(plaintext),
        sealed: Buffer.from(out.subarray(offset, offset + written)),
      });
    },
  };
}

function open(model: Model): Case | undefined {
  const message = messageToOpen(model);
  if (message === undefined) return undefined;
  const { bytes, offset, aad, isAltered } = perhapsAltered(message, model);
  const length = bytes.length - offset - overhead(message.suite);
  const out = Buffer.alloc(Math.max(0, length) + model.random.below(20), CANARY);
  return {
    args: [message.key.handle, message.use, message.suite, aad, aad.length, oddView(bytes, model), offset, out],
    roles: [role(message.use), 'use', 'suite', 'bytes', 'within', 'bytes', 'within', 'bytes'],
    outputs: [out],
    refused: () => {
      const start = [message.key.handle, message.use, message.suite, NOTHING, 0];
      const shared = Buffer.alloc(400);
      if (model.random.chance(1, 2)) return [...start, shared, 0, Buffer.alloc(399 - overhead(message.suite))];
      return [...start, shared.subarray(50, 150), 0, shared.subarray(model.random.below(100))];
    },
    fails: isAltered ? 'ERR_AUTHENTICATION' : undefined,
    checkFailure: () => expect(!holds(out, message.plaintext), 'a plaintext stays after a failure'),
    check: (written: number) => {
      expectEqual(written, message.plaintext.length, 'bytes written');
      expectBytes(out.subarray(0, written), message.plaintext, 'plaintexts');
      expect(isCanary(out.subarray(written)), 'wrote beside its output');
    },
  };
}

function sealAsync(model: Model): Case | undefined {
  const choice = choose(model);
  if (choice === undefined) return undefined;
  const argument = model.view(model.length());
  const plaintext = Buffer.from(argument);
  const prefix = model.view(model.random.below(200));
  const expectedPrefix = Buffer.from(prefix);
  const spoils = spoiling(model, choice.key, [argument, prefix, choice.aadArgument]);
  return {
    args: [choice.key.handle, choice.use, choice.suite, choice.aadArgument, choice.aad.length, argument, prefix],
    roles: [role(choice.use), 'use', 'suite', 'bytes', 'within', 'bytes', 'bytes'],
    afterCall: spoils,
    check: (envelope: Buffer) => {
      expectBytes(envelope.subarray(0, expectedPrefix.length), expectedPrefix, 'prefixes');
      expectEqual(envelope.length, expectedPrefix.length + overhead(choice.suite) + plaintext.length, 'length');
      sealed(model, { ...choice, plaintext, sealed: Buffer.from(envelope.subarray(expectedPrefix.length)) });
    },
  };
}

function openAsync(model: Model): Case | undefined {
  const message = messageToOpen(model);
  if (message === undefined) return undefined;
  const { bytes, offset, aad, isAltered } = perhapsAltered(message, model);
  return {
    args: [message.key.handle, message.use, message.suite, aad, aad.length, bytes, offset],
    roles: [role(message.use), 'use', 'suite', 'bytes', 'within', 'bytes', 'within'],
    fails: isAltered ? 'ERR_AUTHENTICATION' : undefined,
    afterCall: spoiling(model, message.key, [bytes, aad]),
    check: (plaintext: Buffer) => {
      expectBytes(plaintext, message.plaintext, 'plaintexts');
      plaintext.fill(0);
    },
  };
}

function sealDataKey(model: Model): Case | undefined {
  const choice = choose(model, 2);
  if (choice === undefined) return undefined;
  const { random } = model;
  const length = random.pick([1, 16, 32, 64, 1023, 1024]);
  const offset = random.below(60);
  const out = Buffer.alloc(offset + overhead(choice.suite) + length + random.below(20), CANARY);
  const plaintext = random.chance(1, 3) ? null : Buffer.alloc(length + random.below(20), CANARY);
  return {
    args: [choice.key.handle, choice.suite, choice.aadArgument, choice.aad.length, length, plaintext, out, offset],
    roles: ['dek', 'suite', 'bytes', 'within', 'number', 'bytesOrNull', 'bytes', 'within'],
    outputs: plaintext === null ? [out] : [out, plaintext],
    refused: () => {
      const start = [choice.key.handle, choice.suite, NOTHING, 0, 32];
      const shared = Buffer.alloc(overhead(choice.suite) + 32);
      return random.pick([
        [...start, shared.subarray(0, 32), shared, 0],
        [...start, Buffer.alloc(31), shared, 0],
        [...start, null, shared, 1],
      ]);
    },
    check: (written: number) => {
      expectEqual(written, overhead(choice.suite) + length, 'bytes written');
      expect(isCanary(out.subarray(0, offset)) && isCanary(out.subarray(offset + written)), 'wrote beside its output');
      if (plaintext === null) return;
      expect(isCanary(plaintext.subarray(length)), 'wrote beside its plaintext');
      const message = { ...choice, plaintext: Buffer.from(plaintext.subarray(0, length)) };
      sealed(model, { ...message, sealed: Buffer.from(out.subarray(offset, offset + written)) });
    },
  };
}

/** What the addon sealed, opens elsewhere, and the model will open it. */
function sealed(model: Model, message: Message): void {
  const key = keyBytes(message.key, message.use);
  if (key !== undefined) {
    const opened = openElsewhere(message.suite, key, message.aad, message.sealed);
    expectBytes(opened, message.plaintext, 'plaintexts');
  }
  if (model.keys.includes(message.key)) model.remember(message);
}

/** One of the addon's, or one that was sealed elsewhere. */
function messageToOpen(model: Model): Message | undefined {
  if (model.messages.length > 0 && model.random.chance(2, 3)) return model.random.pick(model.messages);
  const choice = choose(model);
  const key = choice === undefined ? undefined : keyBytes(choice.key, choice.use);
  if (choice === undefined || key === undefined) return undefined;
  const plaintext = Buffer.from(model.view(model.length()));
  const nonce = randomBytes(NONCE_BYTES[choice.suite]!);
  return { ...choice, plaintext, sealed: sealElsewhere(choice.suite, key, nonce, choice.aad, plaintext) };
}

interface Sealed {
  readonly bytes: Buffer;
  readonly offset: number;
  readonly aad: Buffer;
  readonly isAltered: boolean;
}

/** Behind some bytes that are none of it; half are changed in one place, or cut. */
function perhapsAltered({ sealed: body, aad }: Message, model: Model): Sealed {
  const { random } = model;
  const offset = random.below(30);
  const bytes = unpooled(Buffer.concat([Buffer.alloc(offset), body]));
  const same = { bytes, offset, aad: unpooled(aad), isAltered: false };
  if (random.chance(1, 2)) return same;
  if (random.chance(1, 4)) return { ...same, aad: unpooled(Buffer.concat([aad, Buffer.of(0)])), isAltered: true };
  if (random.chance(1, 4))
    return { ...same, bytes: bytes.subarray(0, offset + random.below(body.length)), isAltered: true };
  bytes[offset + random.below(body.length)]! ^= 1 << random.below(8);
  return { ...same, isAltered: true };
}

/** A copy in memory of its own, which can be transferred. */
function unpooled(bytes: Buffer): Buffer {
  const copy = Buffer.alloc(bytes.length);
  bytes.copy(copy);
  return copy;
}

/** As a caller may: overwrite, take away, free the key, all while the job runs. */
function spoiling(model: Model, key: Key, views: readonly Buffer[]): (() => void) | undefined {
  const { random } = model;
  const how = random.below(4);
  if (how === 0) return undefined;
  return () => {
    for (const view of views) {
      view.fill(0x5a);
      if (how > 1) detach(view);
    }
    if (how === 3) freeNow(model, key);
  };
}

function freeNow(model: Model, key: Key): void {
  if (!model.keys.includes(key)) return;
  freeKey(key.handle);
  model.remove(key);
}

function overhead(suite: number): number {
  return NONCE_BYTES[suite]! + TAG_BYTES;
}

function role(use: number): 'kek' | 'dek' {
  return use === 0 ? 'kek' : 'dek';
}

function isCanary(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === CANARY);
}

/** Whether some of a plaintext lies there: short ones may by chance. */
function holds(bytes: Buffer, plaintext: Buffer): boolean {
  return plaintext.length >= 16 && bytes.includes(plaintext.subarray(0, 8));
}
