import { closeSync, constants, openSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { DekdError } from '../errors.ts';

/** Ten times what 100 keys need; the parser takes a second for the worst that fits. */
const MAX_FILE_BYTES = 256 * 1024;

type Kind = 'configuration' | 'revocations';

/** The text of a file that the operator writes. Throws DekdError INVALID_REQUEST with the file, and the line of what is not UTF-8. */
export function readText(file: string, kind: Kind): string {
  // Not readFileSync: a configuration of /dev/zero would fill the memory.
  const bytes = Buffer.alloc(MAX_FILE_BYTES + 1);
  let length = 0;
  try {
    const descriptor = openSync(file, 'r');
    try {
      for (let read = -1; read !== 0 && length < bytes.length; length += read) {
        read = readSync(descriptor, bytes, length, bytes.length - length, null);
      }
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw unreadable(file, kind, error);
  }
  return decode(bytes.subarray(0, length), file, kind);
}

/** The same without keeping the process from its work while a slow or dead file system takes its time. */
export async function readTextLater(file: string, kind: Kind): Promise<string> {
  const bytes = Buffer.alloc(MAX_FILE_BYTES + 1);
  let length = 0;
  try {
    // A pipe that nobody writes to would never open; now it is an empty file.
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    for (let read = -1; read !== 0 && length < bytes.length; length += read) {
      ({ bytesRead: read } = await handle.read(bytes, length, bytes.length - length, null));
    }
  } catch (error) {
    throw unreadable(file, kind, error);
  }
  return decode(bytes.subarray(0, length), file, kind);
}

function unreadable(file: string, kind: Kind, error: unknown): DekdError {
  const { code } = error as NodeJS.ErrnoException;
  const texts: Readonly<Record<string, string>> = {
    ENOENT: `no such file; name an existing ${kind} file`,
    EACCES: 'may not be read by this user; change its mode or owner',
    EISDIR: 'a directory; name the file inside it',
  };
  const text = texts[code ?? ''] ?? `cannot be read (${code ?? 'unknown error'})`;
  return new DekdError('INVALID_REQUEST', `${file}: ${text}`, { cause: error });
}

function decode(bytes: Buffer, file: string, kind: Kind): string {
  if (bytes.length > MAX_FILE_BYTES) {
    throw new DekdError('INVALID_REQUEST', `${file}: over 256 KiB; a ${kind} file is smaller`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new DekdError('INVALID_REQUEST', `${file}:${badLine(bytes)}:1: not UTF-8 text; save the file as UTF-8`);
  }
}

/** No UTF-8 sequence crosses a line feed, so each line stands for itself. */
function badLine(bytes: Buffer): number {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const end = bytes.indexOf(0x0a, start);
    try {
      decoder.decode(bytes.subarray(start, end < 0 ? bytes.length : end));
    } catch {
      return line;
    }
    if (end < 0) break;
    start = end + 1;
  }
  return line;
}
