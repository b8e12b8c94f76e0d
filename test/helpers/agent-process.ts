import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createClient, type DekdClient } from './client.ts';
import type { Place, Teardown } from './place.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DEKD = fileURLToPath(new URL('../../src/cli/dekd.ts', import.meta.url));
const AGENT_CHILD = fileURLToPath(new URL('agent-child.ts', import.meta.url));
/** What bin/dekd gives to node. */
const NODE_FLAGS = ['--disable-warning=ExperimentalWarning', '--disable-sigusr1', '--max-semi-space-size=4'];
const READY_TIMEOUT_MS = 20_000;
const EXIT_TIMEOUT_MS = 20_000;

export interface AgentOptions {
  /** Arguments of test/helpers/agent-child.ts, which then runs in place of the command `dekd`. */
  readonly child?: readonly string[];
  /** What starts the process, e.g. `['setpriv', '--reuid=65533']`. */
  readonly prefix?: readonly string[];
  readonly cwd?: string;
  /** Default: `--config` and the place's file. */
  readonly args?: readonly string[];
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Agent {
  readonly pid: number;
  /** From the start of the process to its word that it is ready, in milliseconds. */
  readonly startMs: number;
  readonly client: DekdClient;
  readonly admin: DekdClient;
  stdout(): string;
  stderr(): string;
  kill(signal: NodeJS.Signals): void;
  /** Sends SIGINT and waits for the end. */
  stop(): Promise<Exit>;
  exit(): Promise<Exit>;
}

/** An agent that is ready; ended, at the latest, with the test. Throws what it wrote when it does not start. */
export async function startAgent(t: Teardown, place: Place, options: AgentOptions = {}): Promise<Agent> {
  const startedAtMs = performance.now();
  const running = run(t, place, options);
  await ready(running);
  const startMs = performance.now() - startedAtMs;
  const client = createClient(place.agentSocket, 'dekd.v1.KeyAgent');
  const admin = createClient(place.adminSocket, 'dekd.v1.KeyAdmin');
  t.teardown(() => {
    client.close();
    admin.close();
  });
  const { child, output, exited } = running;
  const kill = (signal: NodeJS.Signals): void => void child.kill(signal);
  return {
    pid: child.pid as number,
    startMs,
    client,
    admin,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    kill,
    stop: () => {
      kill('SIGINT');
      return exited();
    },
    exit: exited,
  };
}

/** Runs an agent that is expected to refuse, and waits for its end. */
export function runAgent(t: Teardown, place: Place, options: AgentOptions = {}): Promise<Exit> {
  return run(t, place, options).exited();
}

interface Running {
  readonly child: ChildProcess;
  readonly output: { stdout: string; stderr: string };
  exited(): Promise<Exit>;
}

function run(t: Teardown, place: Place, options: AgentOptions): Running {
  const { child: childFlags, prefix = [], cwd = ROOT, args = ['--config', place.configFile] } = options;
  const script = childFlags === undefined ? [DEKD] : [AGENT_CHILD, ...childFlags];
  const [command = '', ...rest] = [...prefix, process.execPath, ...NODE_FLAGS, ...script, ...args];
  const child = spawn(command, rest, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()));
  const closed = once(child, 'close');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await closed;
  });
  const exited = async (): Promise<Exit> => {
    const [code, signal] = await within(EXIT_TIMEOUT_MS, closed, () => `still running\n${output.stderr}`);
    return { code, signal, ...output };
  };
  return { child, output, exited };
}

async function ready({ child, output }: Running): Promise<void> {
  let look: () => void = () => {};
  const started = new Promise<void>((resolve, reject) => {
    look = () => {
      if (output.stderr.includes('"event":"ready"')) resolve();
    };
    child.once('close', (code) => reject(new Error(`the agent ended with ${code}\n${output.stderr}`)));
    child.once('error', reject);
  });
  child.stderr?.on('data', look);
  await within(READY_TIMEOUT_MS, started, () => `not ready\n${output.stderr}`);
}

async function within<T>(timeoutMs: number, promise: Promise<T>, problem: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`after ${timeoutMs} ms: ${problem()}`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
