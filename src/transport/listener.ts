import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  unlinkSync,
} from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { DekdError } from '../errors.ts';
import { type SocketLock, takeLock } from './socket-lock.ts';
import { socketRefusal } from './socket-refusal.ts';

export interface UnixListenerOptions {
  /** Of the socket. Its directory is made when absent, open to no more than those whom `mode` lets in. */
  readonly path: string;
  /** Permission bits of the socket, e.g. 0o660. */
  readonly mode: number;
  /** Owner of the socket; default: this process's. */
  readonly uid?: number | undefined;
  /** Group of the socket; default: this process's. */
  readonly gid?: number | undefined;
  /** flock(2) LOCK_EX | LOCK_NB: false when another open file holds the lock. */
  readonly lockFile: (fd: number) => boolean;
}

export interface UnixListener {
  readonly server: Server;
  readonly path: string;
  /** Stops listening and removes what is ours: socket and lock file. Connections stay. A second call does nothing. */
  close(): Promise<void>;
}

/** sockaddr_un has 108 bytes for the path and its final NUL (unix(7)). */
const MAX_PATH_BYTES = 107;

/** As long as the name in the socket's directory under which it is bound first: `.`, six random characters, `/s`. */
const TEMPORARY_NAME = '.random/s';

/** A socket's path that is ours and on which nobody listens yet. */
export interface UnixReservation {
  /** The socket appears with its final mode and owner. Connections come at once: attach to `server` without awaiting anything else. */
  listen(): Promise<UnixListener>;
  /** Gives the path up; for a start that fails before `listen`. */
  release(): void;
}

/**
 * Takes a path for a Unix socket: one agent a path (PATH.lock says which), a dead agent's socket is taken over, anything else there is
 * left alone. Throws DekdError INVALID_REQUEST that says what stands in the way.
 */
export async function reserveUnixListener(options: UnixListenerOptions): Promise<UnixReservation> {
  const { path } = options;
  checkPath(path);
  prepareDirectory(options);
  const lock = takeLock(path, options.lockFile);
  try {
    await checkPlace(options);
  } catch (error) {
    lock.release();
    throw refusal(path, error);
  }
  return { listen: () => listen(options, lock), release: () => lock.release() };
}

async function listen(options: UnixListenerOptions, lock: SocketLock): Promise<UnixListener> {
  const { path } = options;
  try {
    const server = createServer();
    const socket = await bind(server, options);
    let open = true;
    const close = async () => {
      if (!open) return;
      open = false;
      server.close();
      removeIfSame(path, socket);
      lock.release();
    };
    return { server, path, close };
  } catch (error) {
    lock.release();
    throw refusal(path, error);
  }
}

function refusal(path: string, error: unknown): DekdError {
  return error instanceof DekdError ? error : socketRefusal(path, (error as Error).message, error);
}

function checkPath(path: string): void {
  if (path === '' || path.includes('\0')) {
    throw socketRefusal(
      JSON.stringify(path),
      'is no path in the file system, and abstract sockets have no permissions',
    );
  }
  const bytes = Buffer.byteLength(path);
  const limit = MAX_PATH_BYTES - Math.max(0, TEMPORARY_NAME.length - Buffer.byteLength(basename(path)));
  if (bytes <= limit) return;
  throw socketRefusal(
    path,
    `has ${bytes} bytes, and a socket's path has at most ${limit} here; choose a shorter directory`,
  );
}

function prepareDirectory(options: UnixListenerOptions): void {
  const { path } = options;
  const directory = dirname(path);
  const found = statSync(directory, { throwIfNoEntry: false });
  if (found === undefined) {
    makeDirectory(directory, options);
    return;
  }
  if (!found.isDirectory()) throw socketRefusal(path, `${directory} is no directory`);
  const intruder = whoMayReplaceFiles(found);
  if (intruder === undefined) return;
  throw socketRefusal(
    path,
    `${intruder.who} may replace files in ${directory} (mode ${octal(found.mode)}); take that right away with ` +
      `\`${intruder.remedy} ${directory}\`, or choose a directory of its own`,
  );
}

/**
 * Who besides root and this process could put a socket of theirs in our socket's place. A group's right to root's directories is
 * Kubernetes' way to give a volume to a pod (fsGroup); a sticky directory's files are safe from all but its owner.
 */
function whoMayReplaceFiles({ uid, mode }: Stats): { who: string; remedy: string } | undefined {
  const ours = process.geteuid?.();
  if (uid !== 0 && uid !== ours) return { who: `its owner, uid ${uid},`, remedy: `chown ${ours}` };
  if ((mode & 0o1000) !== 0) return undefined;
  if ((mode & 0o002) !== 0) return { who: 'anybody', remedy: 'chmod o-w' };
  return (mode & 0o020) !== 0 && uid !== 0 ? { who: 'its group', remedy: 'chmod g-w' } : undefined;
}

/** For this process alone, and for passing through for those whom the socket's mode lets in. */
function makeDirectory(directory: string, { path, mode, gid }: UnixListenerOptions): void {
  const directoryMode = 0o700 | ((mode & 0o060) === 0 ? 0 : 0o010) | ((mode & 0o006) === 0 ? 0 : 0o001);
  try {
    mkdirSync(directory, { recursive: true, mode: directoryMode });
    if (gid !== undefined) chownSync(directory, -1, gid);
    chmodSync(directory, directoryMode);
  } catch (error) {
    throw socketRefusal(path, `its directory can't be made (${(error as Error).message})`, error);
  }
}

/** Nothing is at the path, or a socket of ours on which nobody listens. */
async function checkPlace({ path, uid }: UnixListenerOptions): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw socketRefusal(path, `${kind(found)} is in its place; remove it, or choose another path`);
  }
  const ours = process.geteuid?.();
  if (found.uid !== ours && found.uid !== uid) {
    throw socketRefusal(path, `a socket of uid ${found.uid} is in its place; remove it, or choose another path`);
  }
  if (await answers(path)) throw socketRefusal(path, 'another program listens there; stop it, or choose another path');
}

/** Binds in a private directory, so that nobody can connect before mode and owner are right, and moves the socket to its place. */
async function bind(server: Server, options: UnixListenerOptions): Promise<Stats> {
  const { path, mode, uid, gid } = options;
  const directory = mkdtempSync(`${dirname(path)}/.`);
  const temporary = join(directory, 's');
  try {
    await listening(server, temporary);
    chmodSync(temporary, mode);
    if (uid !== undefined || gid !== undefined) chownSync(temporary, uid ?? -1, gid ?? -1);
    const socket = lstatSync(temporary);
    // Much may have happened since the path was reserved, and a rename asks nobody.
    await checkPlace(options);
    renameSync(temporary, path);
    return socket;
  } catch (error) {
    server.close();
    throw error;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Only these say that nobody listens (connect(2)): a program whose backlog is full, or that lets us not in, gives another. */
const STALE = ['ECONNREFUSED', 'ENOENT'];

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', ({ code }: NodeJS.ErrnoException) => resolve(!STALE.includes(code ?? '')));
  });
}

function removeIfSame(path: string, socket: Stats): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found !== undefined && found.ino === socket.ino && found.dev === socket.dev) unlinkSync(path);
}

function kind(found: Stats): string {
  if (found.isDirectory()) return 'a directory';
  if (found.isSymbolicLink()) return 'a symbolic link';
  return found.isFile() ? 'a regular file' : 'a special file';
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}
