import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';

/** A real service that a test started. */
export interface Counterpart {
  readonly pid: number;
  /** Kills it, and waits for its end. */
  readonly stop: () => Promise<void>;
}

const READY_TIMEOUT_MS = 50_000;
/** As python-environment.sh has it. Read once: a test may change its environment. */
export const INSTALLATIONS =
  process.env['DEKD_COUNTERPARTS'] ??
  join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'dekd', 'counterparts');
const ROOT = join(import.meta.dirname, '..', '..');

/** Where its install.sh put it; undefined when it is not there in the version that is asked for. */
export function installation(name: string): string | undefined {
  const requirements = readFileSync(join(ROOT, 'test', 'counterparts', name, 'requirements.txt'));
  const digest = createHash('sha256').update(requirements).digest('hex').slice(0, 12);
  const directory = join(INSTALLATIONS, `${name}-${digest}`);
  return existsSync(join(directory, 'installed')) ? directory : undefined;
}

/** DEKD_TEST_WITHOUT: the one that a machine of CI can't have. */
export function missing(t: ExecutionContext, name: string): void {
  const message = `NOT RUN: "${t.title}" needs ${name}; install it with: test/counterparts/${name}/install.sh`;
  process.stderr.write(`\n${message}\n\n`);
  if (process.env['CI'] === 'true' && process.env['DEKD_TEST_WITHOUT'] !== name) t.fail(message);
  else t.pass(message);
}

export interface StartOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Asked again until it is true. */
  readonly ready: () => Promise<boolean>;
}

/** Starts a service that ends with this thread at the latest. Rejects with what it wrote when it ends early or is not ready in 50 s. */
export async function startCounterpart({ command, args, environment, ready }: StartOptions): Promise<Counterpart> {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', command, ...args], {
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const written: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => written.push(String(chunk)));
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const until = Date.now() + READY_TIMEOUT_MS;
  while (!(await ready().catch(() => false))) {
    if (hasEnded(child) || Date.now() > until) {
      child.kill('SIGKILL');
      throw new Error(`${command} ${args.join(' ')} is not ready:\n${written.join('').slice(-4000)}`);
    }
    await delay(100);
  }
  return {
    pid: child.pid!,
    stop: async () => {
      child.kill('SIGCONT');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** A TCP port of a loopback address that nobody listens on just now. */
export async function freePort(host: '127.0.0.1' | '::1'): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, resolve);
  });
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
