import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { DekdError } from '../../../errors.ts';

const MAX_BYTES = 16_384;
/** What may stand in an HTTP header and in JSON as it is: printable ASCII without spaces. Tokens, role ids and JWTs are that. */
const CREDENTIAL = /^[\x21-\x7e]+$/;

/**
 * A credential in a file: one line of printable ASCII, at most 16 KiB. Throws DekdError INVALID_REQUEST. Who else may read the file is not
 * asked: Kubernetes gives pods their token with mode 0644, and agents that write tokens for others do it with 0640.
 */
export function readSecret(what: string, file: string): string {
  const bytes = Buffer.from(new ArrayBuffer(MAX_BYTES + 1));
  try {
    const text = bytes.toString('latin1', 0, readFile(what, file, bytes)).replace(/\r?\n$/, '');
    if (CREDENTIAL.test(text)) return text;
    const problem = text === '' ? 'is empty' : `is not one line of printable ASCII without spaces`;
    throw fault(what, file, `${problem}; write the ${what} and nothing else into it`);
  } finally {
    bytes.fill(0);
  }
}

function readFile(what: string, file: string, target: Buffer): number {
  let descriptor: number | undefined;
  try {
    // O_NONBLOCK: a named pipe is refused instead of waited for.
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!fstatSync(descriptor).isFile()) throw fault(what, file, 'is not a regular file');
    const length = readSync(descriptor, target, 0, target.length, 0);
    if (length > MAX_BYTES) throw fault(what, file, `has more than ${MAX_BYTES} bytes`);
    return length;
  } catch (error) {
    if (error instanceof DekdError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const problem =
      code === 'ENOENT' ? 'does not exist (yet)' : `cannot be read by uid ${process.geteuid?.()} (${code})`;
    throw fault(what, file, problem, error);
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

function fault(what: string, file: string, problem: string, cause?: unknown): DekdError {
  return new DekdError('INVALID_REQUEST', `${what} ${file}: ${problem}`, { cause });
}
