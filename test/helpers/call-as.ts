import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface Caller {
  readonly uid: number;
  /** Default: the uid. */
  readonly gid?: number;
  /** Supplementary groups. Default none. */
  readonly groups?: readonly number[];
}

export interface CallerTask {
  readonly caller: Caller;
  readonly socket: string;
  readonly service: string;
  readonly calls: readonly (readonly [rpc: string, request: object])[];
}

export interface CallOutcome {
  readonly code: number;
  readonly reason: string;
  /** Of the error. */
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test knows what it asked for
  readonly message: any;
}

const CHILD = fileURLToPath(new URL('caller-child.ts', import.meta.url));

/** Makes calls from a process of another user, one after the other on one connection. Needs root. */
export function callAs(task: CallerTask): CallOutcome[] {
  const run = spawnSync(process.execPath, [CHILD], { input: JSON.stringify(task), encoding: 'utf8', timeout: 60_000 });
  if (run.status !== 0) throw new Error(`the caller ended with ${run.status ?? run.signal}: ${run.stderr}`);
  return JSON.parse(run.stdout, (_name, value) =>
    value?.type === 'Buffer' ? Buffer.from(value.data as number[]) : value,
  ) as CallOutcome[];
}
