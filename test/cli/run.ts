import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TestFn } from 'ava';

export interface RunOptions {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

export interface RunResult {
  /** -1 when a signal ended it. */
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export const sourcePath = (name: string): string => join(ROOT, name);

/** Runs `src/cli/dekctl.ts` as users do: a process of its own, standard input and output no terminals. */
export function dekctl(args: readonly string[], options?: RunOptions): Promise<RunResult> {
  return run(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', sourcePath('src/cli/dekctl.ts'), ...args],
    options,
  );
}

export function dekd(args: readonly string[], options?: RunOptions): Promise<RunResult> {
  return run(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', sourcePath('src/cli/dekd.ts'), ...args],
    options,
  );
}

/** Without what the machine's own environment says about dekd and Node. */
export function cleanEnvironment(more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const { NODE_OPTIONS, DEKD_CONFIG, DEKD_SOCKET, DEKD_ADMIN_SOCKET, FORCE_COLOR, ...rest } = process.env;
  return { ...rest, ...more };
}

export async function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const release = await turn();
  try {
    return await new Promise((resolve, reject) => {
      const child = spawn(file, args, { cwd: options.cwd ?? ROOT, env: cleanEnvironment(options.env) });
      const stdout: Buffer[] = [];
      const stderr: Buffer[] = [];
      child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
      child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
      child.on('error', reject);
      child.on('close', (code) => {
        resolve({ code: code ?? -1, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() });
      });
      // A child that ends without reading breaks the pipe: its exit code tells the story.
      child.stdin.on('error', () => undefined);
      child.stdin.end(options.input ?? '');
    });
  } finally {
    release();
  }
}

/** A directory of the test file's own, removed behind it. Short: sockets lie in it. */
export function temporaryDirectory(test: TestFn): string {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-cli-'));
  test.after.always(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

// A few processes at a time: more are only slower, and the slowest meets ava's time-out.
const MAX_PROCESSES = 3;
const waiting: (() => void)[] = [];
let running = 0;

async function turn(): Promise<() => void> {
  if (running >= MAX_PROCESSES) await new Promise<void>((resolve) => waiting.push(resolve));
  else running++;
  return () => {
    const next = waiting.shift();
    if (next === undefined) running--;
    else next();
  };
}
