import { readSync, writeSync } from 'node:fs';

/** A token of 8 KiB and what is known of it. */
const MAX_BYTES = 16_384;

/**
 * What a child of an upstream leaves to the next one: a token that still lives, or that a PIN was refused. It is one packet that waits in a socket
 * whose two ends only children read and write. The agent holds those open and looks at neither, so that no credential is in its memory. Never a
 * DEK: getting rid of those is what children are replaced for.
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

export function openHandover(ends: HandoverEnds): Handover {
  const write = (note: unknown): void => {
    take(ends.in);
    put(ends.out, note);
  };
  return {
    read: () => {
      const note = take(ends.in);
      if (note !== undefined) put(ends.out, note);
      return note;
    },
    write,
  };
}

/** The newest of what waits: two children that wrote at once both left something. */
function take(fd: number): unknown {
  const bytes = Buffer.from(new ArrayBuffer(MAX_BYTES));
  let note: unknown;
  try {
    for (let length = readSync(fd, bytes); length > 0; length = readSync(fd, bytes)) {
      const newer = parse(bytes.toString('utf8', 0, length));
      if (newer !== undefined) note = newer;
    }
  } catch (error) {
    // Nothing waits, or there is no such channel: then nothing was left.
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
  } finally {
    bytes.fill(0);
  }
  return note;
}

function put(fd: number, note: unknown): void {
  const bytes = Buffer.from(JSON.stringify(note));
  try {
    if (bytes.length <= MAX_BYTES) writeSync(fd, bytes);
  } catch (error) {
    // Without it the next child begins as the first one did.
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
  } finally {
    bytes.fill(0);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
