import { randomBytes } from 'node:crypto';
import test from 'ava';
import { COMPRESSED, MessageDecoder, NO_REQUEST_MEMORY } from '../../../src/transport/grpc-js/message-decoder.ts';
import { RequestMemory } from '../../../src/transport/request-memory.ts';

const MESSAGES = [Buffer.alloc(0), Buffer.from('one'), Buffer.alloc(300, 7)];

function frame(message: Uint8Array, compressed = 0): Buffer {
  const header = Buffer.alloc(5);
  header[0] = compressed;
  header.writeUInt32BE(message.length, 1);
  return Buffer.concat([header, message]);
}

test('frames come out whole however the bytes come in, and what came in is zeroed', (t) => {
  const frames = MESSAGES.map((message) => frame(message));
  const bytes = Buffer.concat(frames);
  for (const length of [1, 2, 4, 5, 6, 7, 100, bytes.length]) {
    const decoder = new MessageDecoder(new RequestMemory(1000).connection(1), 300);
    const found: Buffer[] = [];
    const sent = Buffer.from(bytes);
    for (let at = 0; at < sent.length; at += length) found.push(...decoder.write(sent.subarray(at, at + length)));
    t.deepEqual(found, frames, `${length} bytes at a time`);
    t.true(sent.every((byte) => byte === 0));
  }
});

test('memory is taken for the whole message at its header, and given back by close', (t) => {
  const memory = new RequestMemory(0).connection(1);
  const decoder = new MessageDecoder(memory, 16_300);
  const header = frame(Buffer.alloc(16_300)).subarray(0, 5);
  decoder.write(header.subarray(0, 4));
  t.is(memory.takenBytes, 0);
  decoder.write(header.subarray(4));
  t.is(memory.takenBytes, 16_305);
  // Of 16 KiB 79 bytes are left.
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
  const memory = new RequestMemory(1000).connection(1);
  const decoder = new MessageDecoder(memory, 100);
  t.throws(() => decoder.write(frame(Buffer.alloc(1), 1)), { message: COMPRESSED });
  t.is(memory.takenBytes, 0);
});

test('a long message gets its memory as it comes, and comes out whole', (t) => {
  const memory = new RequestMemory(2 ** 24).connection(1);
  const message = randomBytes(1_000_000);
  for (const length of [16_384, 65_531, 65_536, 300_000, 1_000_005]) {
    const decoder = new MessageDecoder(memory, 1_000_000);
    const sent = frame(message);
    const found: Buffer[] = [];
    for (let at = 0; at < sent.length; at += length) found.push(...decoder.write(sent.subarray(at, at + length)));
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
  const memory = new RequestMemory(1000).connection(1);
  const decoder = new MessageDecoder(memory, 100);
  t.throws(() => decoder.write(frame(Buffer.alloc(101)).subarray(0, 5)), { message: 'more than 100 bytes' });
  t.is(memory.takenBytes, 0);
});
