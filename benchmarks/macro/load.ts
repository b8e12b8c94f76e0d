/** Servers and load for the benchmarks that go through a socket. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { cpus } from 'node:os';
import { join } from 'node:path';

/** Starts a program, on the first core alone where taskset is there; ends when it has printed `ready` to either output. */
export function startServer(args: readonly string[], environment: Record<string, string> = {}): Promise<ChildProcess> {
  const [command, ...rest] = [...pinned(0), process.execPath, ...args];
  const child = spawn(command as string, rest, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  let output = '';
  return new Promise((resolve, reject) => {
    const read = (chunk: Buffer) => {
      output += chunk;
      if (output.includes('ready')) resolve(child);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.once('exit', (code) => reject(new Error(`${args[0]} ended with ${code}: ${output}`)));
  });
}

export async function stopServer(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await gone;
}

/** The prefix that keeps a program on one core; empty without taskset or with one core. */
export function pinned(core: number): string[] {
  if (cpus().length < 2 || !has('taskset', '--version')) return [];
  return ['taskset', '--cpu-list', String(core)];
}

export function has(command: string, flag: string): boolean {
  try {
    execFileSync(command, [flag], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

export interface Load {
  readonly socket: string;
  readonly path: string;
  /** File with the gRPC frame that is sent as each request. */
  readonly bodyFile: string;
  readonly requests: number;
  readonly connections: number;
  /** Requests that each connection has open at any time. */
  readonly streams: number;
}

export interface Throughput {
  readonly requestsPerSecond: number;
  readonly meanLatencyMicros: number;
}

/** h2load (nghttp2) where it is installed, else our own client on node:http2, which is slower than the servers. */
export function loadGenerator(): 'h2load' | 'node:http2' {
  return has('h2load', '--version') ? 'h2load' : 'node:http2';
}

/** Runs the load in a process of its own, on the last core. Throws unless every answer has `answerBytes` bytes. */
export function runLoad(load: Load, answerBytes: number): Throughput {
  const measured = loadGenerator() === 'h2load' ? runH2load(load) : runNodeClient(load);
  if (measured.bytes !== load.requests * answerBytes) {
    throw new Error(`${load.requests} answers of ${answerBytes} bytes were awaited, and ${measured.bytes} bytes came`);
  }
  return measured;
}

function runH2load({ socket, path, bodyFile, requests, connections, streams }: Load): Throughput & { bytes: number } {
  const output = capture([
    ...['h2load', '--base-uri', `unix:${socket}`, '--data', bodyFile],
    ...['--header', 'content-type: application/grpc', '--header', 'te: trailers'],
    ...['-n', String(requests), '-c', String(connections), '-m', String(streams), `http://localhost${path}`],
  ]);
  const number = (pattern: RegExp) => Number(pattern.exec(output)?.[1]);
  // "time for request:  min  max  mean  sd  +/- sd", each with a unit of its own.
  const [, mean, unit] = /time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)/.exec(output) ?? [];
  const scale = { us: 1, ms: 1e3, s: 1e6 }[unit as 'us' | 'ms' | 's'];
  return {
    requestsPerSecond: number(/finished in [^,]+, ([\d.]+) req\/s/),
    meanLatencyMicros: Number(mean) * scale,
    bytes: number(/\((\d+)\) data/),
  };
}

function runNodeClient(load: Load): Throughput & { bytes: number } {
  return JSON.parse(capture([process.execPath, join(import.meta.dirname, 'load-client.ts'), JSON.stringify(load)]));
}

function capture(command: readonly string[]): string {
  const [program, ...args] = [...pinned(cpus().length - 1), ...command];
  return execFileSync(program as string, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}
