import { readSync, writeSync } from 'node:fs';
import { monotonicMs } from './monotonic.ts';

/** A token of 8 KiB and what is known of it. */
const MAX_BYTES = 16_384;

/**
 * What a child of an upstream leaves to the next one: a token that still lives, or that a PIN was refused. It is one packet that waits in a socket
 * whose two ends only children read and write. The agent holds those open and looks at neither, so that no credential is in its memory. Never a
 * DEK: getting rid of those is what children are replaced for.
 *
 * Two children may read and write at once, and reading takes the packet out for some microseconds:
 *
 *   the other reads meanwhile     finds nothing, and looks again (LOOKS)
 *   the other writes meanwhile    two packets wait then; the one written later counts, whichever was put back last
 *   the reader is killed          the packet is lost: the next child begins as the first one did, with a login more
 */
export interface Handover {
  /** Undefined when nothing was left. It stays for the others. */
  read(): unknown;
  /** In place of what was left before: something that JSON can say, null for nothing. */
  write(note: unknown): void;
}

/** Descriptors: what is written to `out` waits at `in`. Neither blocks. */
export interface HandoverEnds {
  readonly in: number;
  readonly out: number;
}

/** A look lasts microseconds, so that what another child holds is back before the second one. */
const LOOKS = 5;
const BETWEEN_LOOKS_MS = 1;

interface Packet {
  /** CLOCK_MONOTONIC, which all processes have in common, in milliseconds. It stays when the note is put back. */
  readonly writtenAtMs: number;
  readonly note: unknown;
}

/** `wait` is what passes between two looks. */
export function openHandover(ends: HandoverEnds, wait: () => void = pause): Handover {
  return {
    read: () => {
      for (let looks = 1; ; looks++) {
        const packet = take(ends.in);
        if (packet !== undefined) {
          put(ends.out, packet);
          return packet.note;
        }
        if (looks === LOOKS) return undefined;
        wait();
      }
    },
    write: (note) => {
      take(ends.in);
      put(ends.out, { writtenAtMs: monotonicMs(), note });
    },
  };
}

/** What was written last of all that waits. */
function take(fd: number): Packet | undefined {
  const bytes = Buffer.from(new ArrayBuffer(MAX_BYTES));
  let newest: Packet | undefined;
  try {
    for (let length = readSync(fd, bytes); length > 0; length = readSync(fd, bytes)) {
      const packet = parse(bytes.toString('utf8', 0, length));
      if (packet !== undefined && packet.writtenAtMs >= (newest?.writtenAtMs ?? 0)) newest = packet;
    }
  } catch (error) {
    // Nothing waits, or there is no such channel: then nothing was left.
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
  } finally {
    bytes.fill(0);
  }
  return newest;
}

function put(fd: number, packet: Packet): void {
  const bytes = Buffer.from(JSON.stringify(packet));
  try {
    if (bytes.length <= MAX_BYTES) writeSync(fd, bytes);
  } catch (error) {
    // Without it the next child begins as the first one did.
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
  } finally {
    bytes.fill(0);
  }
}

function parse(text: string): Packet | undefined {
  try {
    const { writtenAtMs, note } = JSON.parse(text) as Record<string, unknown>;
    return typeof writtenAtMs === 'number' && note !== undefined ? { writtenAtMs, note } : undefined;
  } catch {
    return undefined;
  }
}

/** Handing over is synchronous: nothing else of this process can come between. */
function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BETWEEN_LOOKS_MS);
}
