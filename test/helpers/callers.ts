import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Place, Teardown } from './place.ts';

export interface Caller {
  readonly uid: number;
  /** Default: the uid. */
  readonly gid?: number;
  /** Supplementary groups. Default none. */
  readonly groups?: readonly number[];
}

export interface CallOutcome {
  readonly code: number;
  readonly reason: string;
  /** Of the error. */
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test knows what it asked for
  readonly message: any;
}

export type Call = readonly [rpc: string, request: object];

/** Calls at one place, each by a process of that user. */
export interface Callers {
  /** Of dekd.v1.KeyAgent, one after the other. */
  data(caller: Caller, ...calls: readonly Call[]): Promise<CallOutcome[]>;
  /** Of dekd.v1.KeyAdmin. */
  admin(caller: Caller, ...calls: readonly Call[]): Promise<CallOutcome[]>;
}

const AGENT = 'dekd.v1.KeyAgent';
const ADMIN = 'dekd.v1.KeyAdmin';

/** A caller's process starts with its first call, keeps its connections, and ends with the test. Needs root. */
export function callersAt(t: Teardown, { agentSocket, adminSocket }: Place): Callers {
  const processes = new Map<string, CallerProcess>();
  const start = (caller: Caller): CallerProcess => {
    const started = startCaller({ caller, sockets: { [AGENT]: agentSocket, [ADMIN]: adminSocket } });
    t.teardown(() => started.end());
    return started;
  };
  const all =
    (service: string) =>
    (caller: Caller, ...calls: readonly Call[]) => {
      const name = JSON.stringify(caller);
      const running = processes.get(name) ?? start(caller);
      processes.set(name, running);
      return Promise.all(calls.map(([rpc, request]) => running.call(service, rpc, request)));
    };
  return { data: all(AGENT), admin: all(ADMIN) };
}

/** Who the child becomes, and where it may call: its first message. */
export interface CallerSetup {
  readonly caller: Caller;
  /** Socket by service. */
  readonly sockets: Readonly<Record<string, string>>;
}

export interface CallerCall {
  readonly service: string;
  readonly rpc: string;
  readonly request: object;
}

/** A process of another user that makes one call after the other, each service over one connection. Needs root. */
export interface CallerProcess {
  call(service: string, rpc: string, request: object): Promise<CallOutcome>;
  end(): Promise<void>;
}

const CHILD = fileURLToPath(new URL('caller-child.ts', import.meta.url));

/** Buffers reach the other side as they are. */
export function startCaller(setup: CallerSetup): CallerProcess {
  const child = fork(CHILD, { serialization: 'advanced', execArgv: [] });
  child.send(setup);
  let last: Promise<unknown> = Promise.resolve();
  return {
    call: (service, rpc, request) => {
      const answer = last.then(() => ask(child, { service, rpc, request }));
      last = answer.catch(() => undefined);
      return answer;
    },
    end: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.disconnect();
      await ended;
    },
  };
}

function ask(child: ChildProcess, call: CallerCall): Promise<CallOutcome> {
  return new Promise((resolve, reject) => {
    const failed = () => reject(new Error(`the caller ended before it answered ${call.rpc}`));
    child.once('exit', failed);
    child.once('message', (outcome) => {
      child.off('exit', failed);
      resolve(outcome as CallOutcome);
    });
    child.send(call);
  });
}
