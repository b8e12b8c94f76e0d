import { fromNative } from '../../crypto/native-errors.ts';
import { DekdError, type Reason } from '../../errors.ts';
import { UpstreamFailure } from '../failure.ts';

// What can go wrong with a keystore and what it means: once as a DekdError, while it is opened and an operator watches,
// and once as an UpstreamFailure, when a running agent meets it.

/** SQLITE_READONLY_ROLLBACK: a journal waits to be rolled back, which a reader may not do. */
export const READONLY_ROLLBACK = 776;

/** Primary result codes of SQLite (sqlite.org/rescode.html). */
const SQLITE = { ERROR: 1, BUSY: 5, READONLY: 8, IOERR: 10, CORRUPT: 11, FULL: 13, CANTOPEN: 14, NOTADB: 26 } as const;

interface Problem {
  readonly reason: Reason;
  readonly text: string;
}

const DISK_FULL: Problem = { reason: 'UPSTREAM_UNAVAILABLE', text: 'the disk is full; free some space and try again' };

/** The keystore in `directory` is damaged or not what it should be; never repaired silently. */
export function keystoreFault(directory: string, problem: string, cause?: unknown): DekdError {
  return new DekdError('UPSTREAM_FAULT', `keystore ${directory}: ${problem}`, { cause });
}

/** Anything thrown while a keystore is opened. What is not ours and not known stays INTERNAL. */
export function openingError(directory: string, thrown: unknown): DekdError {
  const problem = thrown instanceof DekdError ? undefined : describeProblem(thrown);
  if (problem === undefined) return fromNative(thrown);
  return new DekdError(problem.reason, `keystore ${directory}: ${problem.text}`, { cause: thrown });
}

/** A change that the disk did not take. Nothing was changed, on disk or in memory. */
export function writingFailure(directory: string, thrown: unknown): UpstreamFailure {
  const text = describeProblem(thrown)?.text ?? 'failed in an unknown way';
  return new UpstreamFailure('unreachable', `keystore ${directory}: nothing was changed: ${text}`, { cause: thrown });
}

/** A change that is on the disk, which then failed: what lies there may not outlive the power. */
export function unsyncedChange(directory: string, thrown: unknown): DekdError {
  return halfWritten(
    directory,
    'the change was made, and may be undone when the power fails',
    'look at the key',
    thrown,
  );
}

/** A change that failed on a disk which then could not be read either. */
export function unsettledChange(directory: string, thrown: unknown): DekdError {
  const problem = 'it is not known whether the change was made';
  return halfWritten(directory, problem, 'look at the key in a minute, before you try again', thrown);
}

function halfWritten(directory: string, problem: string, wayOut: string, thrown: unknown): DekdError {
  const text = describeProblem(thrown)?.text ?? 'the disk failed in an unknown way';
  return new DekdError('UPSTREAM_UNAVAILABLE', `keystore ${directory}: ${problem}: ${text}; ${wayOut}`, {
    cause: thrown,
  });
}

/** An error of the native addon while `kek` wraps or unwraps a DEK. A lack of secret memory is the agent's, not the upstream's. */
export function wrappingFailure(kek: string, thrown: unknown): UpstreamFailure | DekdError {
  if ((thrown as { code?: unknown } | null)?.code === 'ERR_AUTHENTICATION') {
    // The tag cannot tell which of these it was.
    return new UpstreamFailure(
      'invalid',
      `the wrapped DEK does not open under ${kek}: it was changed, or wrapped by another KEK or with another context`,
      { cause: thrown },
    );
  }
  return notTheUpstreams(fromNative(thrown)) ?? new UpstreamFailure('unreachable', 'internal error', { cause: thrown });
}

/** A KEK's own key could not be loaded. Its record's MAC was verified, so a tag that fails here says nothing about the caller's DEK. */
export function loadingFailure(kek: string, version: number, thrown: unknown): UpstreamFailure | DekdError {
  const cause = fromNative(thrown);
  const problem = `version ${version} of KEK ${kek} cannot be loaded`;
  return notTheUpstreams(cause) ?? new UpstreamFailure('unreachable', problem, { cause });
}

function notTheUpstreams(error: DekdError): DekdError | undefined {
  return error.reason === 'SECRET_MEMORY_EXHAUSTED' ? error : undefined;
}

/** SQLite cannot make sense of what is in the file; not that it cannot get at it. */
export function isDamage(thrown: unknown): thrown is Error {
  const errcode = (thrown as { errcode?: unknown } | null)?.errcode;
  const primary = typeof errcode === 'number' ? errcode & 0xff : undefined;
  return primary === SQLITE.CORRUPT || primary === SQLITE.NOTADB || primary === SQLITE.ERROR;
}

function describeProblem(thrown: unknown): Problem | undefined {
  if (!(thrown instanceof Error)) return undefined;
  const { code, errcode } = thrown as { code?: unknown; errcode?: unknown };
  // An extended result code has the primary one in its low byte.
  if (code === 'ERR_SQLITE_ERROR' && typeof errcode === 'number') return sqliteProblem(errcode & 0xff, thrown.message);
  return typeof code === 'string' ? fileProblem(code, thrown.message) : undefined;
}

function sqliteProblem(resultCode: number, message: string): Problem {
  switch (resultCode) {
    case SQLITE.BUSY:
      return {
        reason: 'UPSTREAM_UNAVAILABLE',
        text: 'another process (an agent or dekctl) has it open; stop it or wait for it, or use another directory',
      };
    case SQLITE.READONLY:
    case SQLITE.CANTOPEN:
      return notWritable(message);
    case SQLITE.FULL:
      return DISK_FULL;
    case SQLITE.CORRUPT:
    case SQLITE.NOTADB:
      return {
        reason: 'UPSTREAM_FAULT',
        text: `keystore.db is damaged (${message}); put back a backup of the directory`,
      };
    default:
      return { reason: 'UPSTREAM_UNAVAILABLE', text: `the disk could not be read or written (${message})` };
  }
}

function fileProblem(code: string, message: string): Problem | undefined {
  switch (code) {
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return notWritable(code);
    case 'ENOSPC':
    case 'EDQUOT':
      return DISK_FULL;
    case 'ENOTDIR':
    case 'EEXIST':
      return { reason: 'INVALID_REQUEST', text: 'is, or lies below, a file that is not a directory; name another one' };
    case 'ENOENT':
    case 'EIO':
    case 'EMFILE':
    case 'ENAMETOOLONG':
    case 'ELOOP':
      return { reason: 'UPSTREAM_UNAVAILABLE', text: message };
    default:
      return undefined;
  }
}

function notWritable(detail: string): Problem {
  const uid = process.geteuid?.();
  return {
    reason: 'UPSTREAM_UNAVAILABLE',
    text: `cannot be written by uid ${uid} (${detail}); mount it read-write and make that user its owner (chown -R ${uid} …)`,
  };
}
