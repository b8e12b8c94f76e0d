import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { callHeaders, FLAG, FRAME, frame, opening } from '../../chaos/http2-frames.ts';

/** Largest payload of a frame that a peer takes unasked (RFC 9113, section 6.5.2). */
const FRAME_BYTES = 16_384;

/** A gRPC message with its prefix. */
export function framed(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** A message whose field `number` has `bytes`. */
export function field(number: number, bytes: Uint8Array): Buffer {
  const length: number[] = [];
  for (let rest = bytes.length; ; rest >>>= 7) {
    length.push(rest < 128 ? rest : (rest & 127) | 128);
    if (rest < 128) break;
  }
  return Buffer.concat([Buffer.of(number * 8 + 2, ...length), bytes]);
}

/** The headers of a call in as many frames as they need. */
export function headersOf(stream: number, path: string, more: Readonly<Record<string, string>> = {}): Buffer {
  const block = callHeaders(path, more);
  const frames: Buffer[] = [];
  for (let at = 0; at < block.length; at += FRAME_BYTES) {
    const flags = at + FRAME_BYTES >= block.length ? FLAG.endHeaders : FLAG.none;
    frames.push(
      frame(at === 0 ? FRAME.headers : FRAME.continuation, flags, stream, block.subarray(at, at + FRAME_BYTES)),
    );
  }
  return Buffer.concat(frames);
}

export interface RawClient {
  readonly socket: Socket;
  readonly send: (...frames: Buffer[]) => void;
  /** Type and stream of the frames that came. */
  readonly seen: readonly { type: number; stream: number; payload: Buffer }[];
  /** Those of one type and stream. */
  readonly frames: (type: number, stream: number) => Buffer[];
  readonly closed: () => boolean;
}

/** A connection on which a test writes frames. It answers neither SETTINGS nor PING. */
export function rawClient(t: ExecutionContext, path: string, initialWindowBytes?: number): RawClient {
  const socket = connect(path);
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  const seen: { type: number; stream: number; payload: Buffer }[] = [];
  let rest = Buffer.alloc(0);
  socket.on('data', (data: Buffer) => {
    rest = Buffer.concat([rest, data]);
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const end = 9 + rest.readUIntBE(0, 3);
      seen.push({ type: rest[3]!, stream: rest.readUInt32BE(5), payload: rest.subarray(9, end) });
      rest = rest.subarray(end);
    }
  });
  socket.once('close', () => {
    seen.length = 0;
    rest = Buffer.alloc(0);
  });
  socket.write(opening(initialWindowBytes));
  return {
    socket,
    seen,
    send: (...frames) => void socket.write(Buffer.concat(frames)),
    frames: (type, stream) =>
      seen.filter((each) => each.type === type && each.stream === stream).map(({ payload }) => payload),
    closed: () => socket.destroyed,
  };
}

export async function eventually(condition: () => boolean): Promise<boolean> {
  for (let tries = 0; tries < 1_000 && !condition(); tries++) await delay(10);
  return condition();
}
