import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** What a client saw. */
export interface Experience {
  readonly errors: readonly string[];
  /** Of Encrypt and Decrypt together, on the connection that stays. */
  readonly latenciesMs: readonly number[];
  /** Calls on connections of their own. */
  readonly newcomers: number;
}

export interface Wish {
  readonly forMs: number;
  /** Whether calls on new connections are made as well. */
  readonly newConnections: boolean;
}

export interface GoodClient {
  /** Calls for so long, and what came of it. */
  experience(wish: Wish): Promise<Experience>;
  end(): Promise<void>;
}

const GOOD = fileURLToPath(new URL('good-client-child.ts', import.meta.url));
const BAD = fileURLToPath(new URL('bad-client-child.ts', import.meta.url));

/** A well-behaved client in a process of another user. Needs root. */
export async function startGoodClient(uid: number, socket: string): Promise<GoodClient> {
  const child = await start(GOOD, [String(uid), socket]);
  return {
    experience: async (wish) => {
      child.send(wish);
      const [experienced] = await once(child, 'message');
      return experienced as Experience;
    },
    end: () => end(child),
  };
}

/** A client that does what `attack` (bad-client-attacks.ts) says, in a process of another user. Ended by what it returns. Needs root. */
export async function startBadClient(uid: number, socket: string, attack: string): Promise<() => Promise<void>> {
  const child = await start(BAD, [String(uid), socket, attack]);
  return () => end(child);
}

/** Of a process, in bytes: now and at most so far (VmRSS and VmHWM of proc_pid_status(5)). */
export function residentBytes(pid: number): { now: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const kibOf = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]);
  return { now: kibOf('VmRSS') * 1024, peak: kibOf('VmHWM') * 1024 };
}

async function start(script: string, args: readonly string[]): Promise<ChildProcess> {
  const child = fork(script, args, { serialization: 'advanced', execArgv: [] });
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`${script} ended with ${code}`);
  });
  await Promise.race([once(child, 'message'), ended]);
  ended.catch(() => {});
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}
