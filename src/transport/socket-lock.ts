import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { socketRefusal } from './socket-refusal.ts';

/** That this process, and no other, serves a socket. */
export interface SocketLock {
  /** Removes the lock file. A second call does nothing. */
  release(): void;
}

/** What the holder writes into the lock file, for the message of whoever comes second. */
const HOLDER = /^pid \d{1,10}, since [0-9TZ:.-]{20,30}\n$/;
const HOLDER_MAX_BYTES = 64;

/**
 * Holds `PATH.lock` by flock(2), so that the lock ends with the process however it ends. Throws DekdError INVALID_REQUEST that names
 * the holder, or what is in the way.
 */
export function takeLock(socketPath: string, lockFile: (fd: number) => boolean): SocketLock {
  const path = `${socketPath}.lock`;
  for (;;) {
    const fd = openLockFile(path, socketPath);
    try {
      lock(fd, path, socketPath, lockFile);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    // A holder that ends removes the file: if it did so between our open and our lock, the lock is on nothing.
    if (isSameFile(fd, path)) return held(fd, path);
    closeSync(fd);
  }
}

function openLockFile(path: string, socketPath: string): number {
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    return openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const denied = code === 'EACCES' || code === 'EPERM';
    const wayOut = denied ? '; run dekd as the owner of its directory, or choose another directory' : '';
    throw socketRefusal(socketPath, `its lock file can't be opened (${message})${wayOut}`, error);
  }
}

function lock(fd: number, path: string, socketPath: string, lockFile: (fd: number) => boolean): void {
  const holder = read(fd);
  // A file that dekd did not write is not written to.
  if (holder !== '' && !HOLDER.test(holder)) {
    throw socketRefusal(socketPath, `${path} is not a lock file of dekd; remove it, or choose another path`);
  }
  if (!lockFile(fd)) {
    const name = holder === '' ? 'which is just starting' : holder.trim();
    throw socketRefusal(socketPath, `an agent already listens there (${name}); stop it, or choose another path`);
  }
  const started = new Date(Date.now() - process.uptime() * 1000);
  ftruncateSync(fd);
  writeSync(fd, `pid ${process.pid}, since ${started.toISOString()}\n`, 0);
}

/** Enough to tell whether the content is ours. */
function read(fd: number): string {
  if (!fstatSync(fd).isFile()) return '(no regular file)';
  const bytes = Buffer.alloc(HOLDER_MAX_BYTES);
  return bytes.toString('latin1', 0, readSync(fd, bytes, 0, bytes.length, 0));
}

function isSameFile(fd: number, path: string): boolean {
  const ours = fstatSync(fd);
  const found = statSync(path, { throwIfNoEntry: false });
  return found !== undefined && found.ino === ours.ino && found.dev === ours.dev;
}

function held(fd: number, path: string): SocketLock {
  let holds = true;
  return {
    release() {
      if (!holds) return;
      holds = false;
      if (isSameFile(fd, path)) unlinkSync(path);
      closeSync(fd);
    },
  };
}
