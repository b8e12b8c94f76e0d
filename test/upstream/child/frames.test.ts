import test from 'ava';
import { encodeFrame, FrameReader, MAX_FRAME_BYTES } from '../../../src/upstream/child/frames.ts';

const messages = [{ id: 1, ok: {} }, { text: 'süß \u{1f511} \ud800' }, { text: 'x'.repeat(10_000) }, {}];

test('messages come out as they went in, however the stream is cut', (t) => {
  const stream = Buffer.concat(messages.map(encodeFrame));
  for (const size of [1, 3, 4, 5, 1000, 65_536, stream.length]) {
    const reader = new FrameReader();
    const read: unknown[] = [];
    for (let at = 0; at < stream.length; at += size) read.push(...reader.read(stream.subarray(at, at + size)));
    t.deepEqual(read, messages, `in pieces of ${size}`);
  }
});

test('a frame holds 64 KiB', (t) => {
  const largest = { t: 'x'.repeat(MAX_FRAME_BYTES - '{"t":""}'.length) };
  t.deepEqual([...new FrameReader().read(encodeFrame(largest))], [largest]);
  t.throws(() => encodeFrame({ t: `${largest.t}x` }), { name: 'FrameError', message: /65537 bytes/ });
  t.throws(() => encodeFrame({ t: 'ü'.repeat(MAX_FRAME_BYTES / 2) }), { name: 'FrameError' });
});

test('a length that is too great is refused before anything is read', (t) => {
  for (const header of ['00010001', 'ffffffff', '47455420']) {
    t.throws(() => [...new FrameReader().read(Buffer.from(header, 'hex'))], { name: 'FrameError' }, header);
  }
});

test('what is no JSON in UTF-8 is refused, and not quoted', (t) => {
  for (const body of ['', 'secret', '{"secret":', '{} {}', Buffer.from('22ff22', 'hex')]) {
    const bytes = Buffer.from(body);
    const header = Buffer.alloc(4);
    header.writeUInt32BE(bytes.length);
    const error = t.throws(() => [...new FrameReader().read(Buffer.concat([header, bytes]))], { name: 'FrameError' });
    t.notRegex(error!.message, /secret/);
    t.is(error!.cause, undefined);
  }
});

test('what came before a bad frame is read, what comes after is not', (t) => {
  const reader = new FrameReader();
  const stream = reader.read(
    Buffer.concat([encodeFrame({ a: 1 }), Buffer.from('ffffffff', 'hex'), encodeFrame({ b: 2 })]),
  );
  t.deepEqual(stream.next().value, { a: 1 });
  t.throws(() => stream.next(), { name: 'FrameError' });
  t.true(stream.next().done);
});
