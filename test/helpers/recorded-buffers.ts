// Keeps every buffer that src/ or native/ allocates or is handed, so that at the end each can be looked at.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

export interface RecordedNeedle {
  /** How often a buffer held it when it was handed over or filled: the proof that the right ones are looked at. */
  readonly seen: number;
  /** Buffers that hold it now. */
  readonly now: number;
}

export interface RecordedBuffers {
  readonly buffers: number;
  readonly needles: Readonly<Record<string, RecordedNeedle>>;
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

const ADDON = fileURLToPath(new URL('../../native/build/dekd.node', import.meta.url));
/** In a stack trace: a frame of src/, but not of a package. */
const OURS = /\/src\/(?!.*node_modules)/;

/** To be called before anything of src/ is loaded. `needlesFile` is JSON, base64 by name, and may grow meanwhile. */
export async function recordBuffers(needlesFile: string): Promise<() => RecordedBuffers> {
  const recorder = new Recorder(needlesFile);
  recorder.watchCalls(replaceableAddon());
  for (const name of ['alloc', 'allocUnsafe', 'allocUnsafeSlow', 'from', 'concat']) recorder.watchAllocator(name);
  const transport = '../../src/transport/grpc-js';
  const { MessageDecoder } = await import(`${transport}/message-decoder.ts`);
  const { OutgoingMessage } = await import(`${transport}/outgoing-message.ts`);
  const { IncomingMessage } = await import(`${transport}/incoming-message.ts`);
  recorder.watchCalls(MessageDecoder.prototype);
  recorder.watchCalls(OutgoingMessage.prototype);
  recorder.watchCalls(IncomingMessage);
  return () => recorder.report();
}

/** The addon's functions are read-only: who requires it from now on gets an object of the same functions that can be changed. */
function replaceableAddon(): Record<string, unknown> {
  const require = createRequire(import.meta.url);
  const addon = require(ADDON) as Record<string, unknown>;
  const copy = Object.fromEntries(Object.getOwnPropertyNames(addon).map((name) => [name, addon[name]]));
  const module = require.cache[ADDON];
  if (module === undefined) throw new Error(`${ADDON} is not in the cache`);
  module.exports = copy;
  return copy;
}

class Recorder {
  readonly #needlesFile: string;
  /** By where they lie, so that a buffer that is handed on counts once. */
  readonly #buffers = new Map<ArrayBufferLike, Map<string, Buffer>>();
  readonly #seen = new Map<string, number>();

  constructor(needlesFile: string) {
    this.#needlesFile = needlesFile;
  }

  /** All arguments and results of the functions that `owner` has, when they come and when they go. */
  watchCalls(owner: Record<string, unknown>): void {
    for (const name of Object.getOwnPropertyNames(owner)) {
      const { value } = Object.getOwnPropertyDescriptor(owner, name) ?? {};
      if (typeof value !== 'function' || name === 'constructor' || name === 'prototype') continue;
      const record = (found: unknown) => this.#record(found);
      owner[name] = function (this: unknown, ...args: unknown[]) {
        record(args);
        const result = (value as Method).apply(this, args);
        record(args);
        if (result instanceof Promise) void result.then(() => record(args)).catch(() => {});
        else record(result);
        return result;
      };
    }
  }

  /** What `Buffer[name]` gives to callers in src/, directly or through a library that they call. */
  watchAllocator(name: string): void {
    const buffers = Buffer as unknown as Record<string, Method>;
    const original = buffers[name] as Method;
    const record = (found: unknown) => this.#record(found);
    buffers[name] = function (this: unknown, ...args: unknown[]) {
      const result = original.apply(this, args);
      if (OURS.test(new Error().stack ?? '')) record(result);
      return result;
    };
  }

  report(): RecordedBuffers {
    const all = [...this.#buffers.values()].flatMap((views) => [...views.values()]);
    const needles = Object.entries(this.#needles()).map(([name, needle]): [string, RecordedNeedle] => [
      name,
      { seen: this.#seen.get(name) ?? 0, now: all.filter((buffer) => buffer.includes(needle)).length },
    ]);
    return { buffers: all.length, needles: Object.fromEntries(needles) };
  }

  #record(found: unknown): void {
    if (Array.isArray(found)) for (const item of found) this.#record(item);
    if (!ArrayBuffer.isView(found)) return;
    const { buffer, byteOffset, byteLength } = found;
    const view = bufferFrom(buffer as ArrayBuffer, byteOffset, byteLength);
    const views = this.#buffers.get(buffer) ?? new Map<string, Buffer>();
    this.#buffers.set(buffer, views.set(`${byteOffset}+${byteLength}`, view));
    for (const [name, needle] of Object.entries(this.#needles())) {
      if (view.includes(needle)) this.#seen.set(name, (this.#seen.get(name) ?? 0) + 1);
    }
  }

  #needles(): Record<string, Buffer> {
    const encoded = JSON.parse(readFileSync(this.#needlesFile, 'utf8')) as Record<string, string>;
    return Object.fromEntries(Object.entries(encoded).map(([name, text]) => [name, bufferFrom(text, 'base64')]));
  }
}

/** Not the watched one: what the recorder itself makes is no buffer of src/. */
const bufferFrom = Buffer.from.bind(Buffer);
