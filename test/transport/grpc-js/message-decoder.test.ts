import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';
import test from 'ava';
import {
  COMPRESSED,
  MessageDecoder,
  NO_REQUEST_MEMORY,
  TOO_MANY_MESSAGES,
} from '../../../src/transport/grpc-js/message-decoder.ts';
import { RequestMemory } from '../../../src/transport/request-memory.ts';

const MESSAGES = [Buffer.alloc(0), Buffer.from('one'), Buffer.alloc(300, 7)];

function frame(message: Uint8Array, compressed = 0): Buffer {
  const header = Buffer.alloc(5);
  header[0] = compressed;
  header.writeUInt32BE(message.length, 1);
  return Buffer.concat([header, message]);
}

/** A connection's memory that can be looked at. */
class Memory {
  takenBytes = 0;
  readonly #maxBytes: number;

  constructor(maxBytes = Number.POSITIVE_INFINITY) {
    this.#maxBytes = maxBytes;
  }

  take(bytes: number): boolean {
    if (this.takenBytes + bytes > this.#maxBytes) return false;
    this.takenBytes += bytes;
    return true;
  }

  release(bytes: number): void {
    this.takenBytes -= bytes;
  }
}

/** Feeds `bytes` in chunks of `length`; throws what the decoder throws. */
function feed(decoder: MessageDecoder, bytes: Buffer, length: number): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += length) found.push(...decoder.write(bytes.subarray(at, at + length)));
  return found;
}

/** All that `work` allocates as buffers that are not zeroed. */
function allocated(work: () => void): Buffer[] {
  const buffers: Buffer[] = [];
  const { allocUnsafe } = Buffer;
  Buffer.allocUnsafe = (size) => {
    const buffer = allocUnsafe(size);
    buffers.push(buffer);
    return buffer;
  };
  try {
    work();
  } finally {
    Buffer.allocUnsafe = allocUnsafe;
  }
  return buffers;
}

test('frames come out whole however the bytes come in', (t) => {
  const frames = MESSAGES.map((message) => frame(message));
  const bytes = Buffer.concat(frames);
  for (const length of [1, 2, 4, 5, 6, 7, 100, bytes.length]) {
    t.deepEqual(feed(new MessageDecoder(new Memory(), 300), bytes, length), frames, `${length} bytes at a time`);
  }
});

test('where there is one message, a byte behind it is refused in the chunk that has it', (t) => {
  const [one, two] = [frame(Buffer.from('one')), frame(Buffer.alloc(0))];
  for (const behind of [Buffer.of(0), two.subarray(0, 4), two, frame(Buffer.from('SECRET'))]) {
    for (const length of [1, 3, 8, 100]) {
      const decoder = new MessageDecoder(new Memory(), 300, 1);
      t.throws(() => feed(decoder, Buffer.concat([one, behind]), length), { message: TOO_MANY_MESSAGES });
      t.deepEqual(decoder.write(one), [], 'nothing more is read');
    }
  }
  t.deepEqual(feed(new MessageDecoder(new Memory(), 300, 1), one, 3), [one]);
});

test('memory is taken for the whole message at its header, and given back by close', (t) => {
  const memory = new Memory(16_384);
  const decoder = new MessageDecoder(memory, 16_300);
  const header = frame(Buffer.alloc(16_300)).subarray(0, 5);
  decoder.write(header.subarray(0, 4));
  t.is(memory.takenBytes, 0);
  decoder.write(header.subarray(4));
  t.is(memory.takenBytes, 16_305);
  // 79 bytes are left.
  const other = new MessageDecoder(memory, 100);
  t.throws(() => other.write(frame(Buffer.alloc(75))), { message: NO_REQUEST_MEMORY });
  t.deepEqual(other.write(frame(Buffer.alloc(1))), []);
  decoder.close();
  t.is(memory.takenBytes, 0);
  other.close();
  decoder.close();
  t.is(memory.takenBytes, 0);
  t.deepEqual(decoder.write(frame(Buffer.alloc(1))), []);
});

test('a compressed message is refused at its header and takes nothing', (t) => {
  const memory = new Memory();
  const decoder = new MessageDecoder(memory, 100);
  t.throws(() => decoder.write(frame(Buffer.alloc(1), 1)), { message: COMPRESSED });
  t.is(memory.takenBytes, 0);
});

test('a long message gets its memory as it comes, and comes out whole', (t) => {
  const message = randomBytes(1_000_000);
  for (const length of [16_384, 65_531, 65_536, 300_000, 1_000_005]) {
    const decoder = new MessageDecoder(new Memory(), 1_000_000);
    const found = feed(decoder, frame(message), length);
    t.is(found.length, 1);
    t.true(found[0]?.subarray(5).equals(message), `${length} bytes at a time`);
    decoder.close();
  }
});

test('who announces much and sends nothing is given little', (t) => {
  const before = process.memoryUsage().arrayBuffers;
  const header = Buffer.alloc(5);
  const decoders = Array.from({ length: 32 }, () => {
    header.writeUInt32BE(2 ** 22, 1);
    const decoder = new MessageDecoder(new RequestMemory(2 ** 24).connection(1), 2 ** 22);
    decoder.write(header);
    return decoder;
  });
  // Half of what they announced would be 64 MiB; other tests of this process take some as well.
  t.true(process.memoryUsage().arrayBuffers - before < 2 ** 26);
  for (const decoder of decoders) decoder.close();
});

test('a message over the limit is refused at its header and takes nothing', (t) => {
  const memory = new Memory();
  const decoder = new MessageDecoder(memory, 100);
  t.throws(() => decoder.write(frame(Buffer.alloc(101)).subarray(0, 5)), { message: 'more than 100 bytes' });
  t.is(memory.takenBytes, 0);
});

test('whatever ends a call, no buffer of the decoder keeps what came', (t) => {
  const secret = frame(Buffer.from('SECRET'));
  const ends: Record<string, Buffer> = {
    'a message that is too long behind a whole one': Buffer.concat([secret, frame(Buffer.alloc(101))]),
    'a compressed one': Buffer.concat([secret, frame(Buffer.alloc(1), 1)]),
    'no memory': Buffer.concat([secret, frame(Buffer.alloc(90))]),
    'one that is one too many': Buffer.concat([secret, secret, secret]),
    'the caller, in the middle of it': frame(Buffer.concat([Buffer.from('SECRET'), Buffer.alloc(50)])).subarray(0, 40),
  };
  for (const [name, bytes] of Object.entries(ends)) {
    for (const length of [7, 1_000]) {
      let found: Buffer[] = [];
      const buffers = allocated(() => {
        const decoder = new MessageDecoder(new Memory(100), 100, 2);
        try {
          for (let at = 0; at < bytes.length; at += length) {
            found = found.concat(decoder.write(Buffer.from(bytes.subarray(at, at + length))));
          }
        } catch {
          // What is looked at is what is left.
        }
        decoder.close();
      });
      // What was handed out is its receiver's.
      for (const frame of found) frame.fill(0);
      t.true(buffers.length > 0, name);
      t.false(Buffer.concat(buffers).includes('SECRET'), `${name}, ${length} bytes at a time`);
    }
  }
});

/** As much of a call of grpc-js as the decoder sees: who reads the stream begins before it, and stops at the end of the call. */
function callOf(maxMessages: number) {
  const stream = new PassThrough();
  const call = { stream, decoder: undefined as MessageDecoder | undefined, over: false };
  stream.on('data', (data: Buffer) => {
    if (call.over) return;
    try {
      call.decoder?.write(data);
    } catch {
      call.over = true;
    }
  });
  MessageDecoder.install(call as unknown as ServerInterceptingCallInterface, new Memory(100), 100, maxMessages);
  return call;
}

test('what came is zeroed when it was looked at, when it was refused, and when nobody looks any more', (t) => {
  const secret = Buffer.from('SECRET');
  for (const [name, first] of Object.entries({
    'a whole message': frame(secret),
    'a compressed one': frame(secret, 1),
    'one that is too long': frame(Buffer.concat([secret, Buffer.alloc(200)])),
    'one without memory': frame(Buffer.concat([secret, Buffer.alloc(93)])),
    'a message and more': Buffer.concat([frame(secret), secret]),
  })) {
    const call = callOf(1);
    const late = Buffer.from('SECRET, late');
    call.stream.emit('data', first);
    call.over = true;
    call.stream.emit('data', late);
    t.false(first.includes('SECRET'), name);
    t.false(late.includes('SECRET'), `after ${name}`);
  }
});

test('a call that has more messages than it may is over', (t) => {
  const call = callOf(3);
  for (let count = 0; count < 3; count++) call.stream.emit('data', frame(Buffer.from('one')));
  t.false(call.over);
  call.stream.emit('data', Buffer.of(0));
  t.true(call.over);
});
