import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Caller, CallOutcome } from './call-as.ts';

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

const CHILD = fileURLToPath(new URL('caller-process-child.ts', import.meta.url));

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
