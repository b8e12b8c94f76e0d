import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Teardown } from '../helpers/place.ts';

/** A ciphertext of another agent, under a DEK of its own. */
export interface Sealed {
  readonly key: string;
  readonly tenant: string;
  readonly ciphertext: Buffer;
  readonly plaintext: Buffer;
}

/** Calls of one kind: Encrypt for these partitions and Decrypt of these ciphertexts, half and half. */
export interface Stream {
  /** Of both together. */
  readonly callsPerSecond: number;
  readonly partitions: readonly { readonly key: string; readonly tenant: string }[];
  /** One after the other, as often as the rate allows. */
  readonly busy: readonly Sealed[];
  /** Each once in `idleEveryMs`. */
  readonly idle: readonly Sealed[];
  readonly idleEveryMs: number;
}

export interface LoadPlan {
  readonly socket: string;
  readonly streams: Readonly<Record<string, Stream>>;
}

export type Order = { readonly do: 'start' | 'stop'; readonly stream: string } | { readonly do: 'warm' | 'take' };

/** What a call came to: 0 and 1 are answers that are right, without and with served_in_grace; 2 + n is problem n. */
export const SERVED = 0;
export const SERVED_IN_GRACE = 1;
export const PROBLEM = 2;

export interface Problem {
  /** Of gRPC; -1: another plaintext came back. */
  readonly code: number;
  readonly text: string;
}

/** The calls that ended since it was asked last, column by column. Times are milliseconds since 1970 on this machine's clock. */
export interface Calls {
  readonly sentMs: Float64Array;
  readonly receivedMs: Float64Array;
  readonly outcome: Uint16Array;
  /** Index into `deks`; an Encrypt that failed has that of the one before it. */
  readonly dek: Uint16Array;
  readonly deks: readonly UsedDek[];
  readonly problems: readonly Problem[];
  /** How late the load's own timer was, in milliseconds: 99th percentile. */
  readonly lateMs: number;
}

export interface UsedDek {
  readonly id: string;
  readonly key: string;
  readonly stream: string;
  /** Used more seldom than once a ttl. */
  readonly isIdle: boolean;
}

/** Calls in a process of its own. */
export interface Load {
  /** Decrypts each ciphertext of the streams that are started once, so that their DEKs are cached. */
  warm(): Promise<void>;
  start(stream: string): Promise<void>;
  stop(stream: string): Promise<void>;
  take(): Promise<Calls>;
}

export async function startLoad(t: Teardown, plan: LoadPlan): Promise<Load> {
  const child = fork(fileURLToPath(new URL('outage-load-child.ts', import.meta.url)), {
    serialization: 'advanced',
    execArgv: [],
  });
  t.teardown(() => end(child));
  const ended = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`the load ended with ${code ?? signal}`);
  });
  ended.catch(() => undefined);
  /** One question at a time. */
  const ask = async (message: LoadPlan | Order): Promise<unknown> => {
    const answered = new Promise((resolve) => child.once('message', resolve));
    child.send(message);
    return Promise.race([answered, ended]);
  };
  await ask(plan);
  return {
    warm: async () => void (await ask({ do: 'warm' })),
    start: async (stream) => void (await ask({ do: 'start', stream })),
    stop: async (stream) => void (await ask({ do: 'stop', stream })),
    take: async () => (await ask({ do: 'take' })) as Calls,
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}
