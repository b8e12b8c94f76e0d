/**
 * `npm run test:interop`: programs that are not ours against a real agent. What is missing on this machine is skipped aloud, and
 * fails where CI=true.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { grpcurlChecks } from './grpcurl.ts';
import { pythonChecks } from './python.ts';
import { Tap } from './tap.ts';

const START_MS = 15_000;
const STOP_MS = 10_000;

const root = join(import.meta.dirname, '..', '..');
const state = mkdtempSync(join(tmpdir(), 'dekd-interop-'));
const tap = new Tap(process.env['CI'] === 'true');
const agent = startAgent();
try {
  const socket = join(state, 'agent.sock');
  await listens(socket, agent);
  await pythonChecks(tap, root, socket);
  await grpcurlChecks(tap, socket, join(state, 'admin.sock'));
  await tap.check('the agent ends with status 0 when asked to', () => stopped(agent));
} catch (error) {
  tap.fail('the agent runs', (error as Error).message);
} finally {
  agent.kill('SIGKILL');
  rmSync(state, { recursive: true, force: true });
}
process.exit(tap.finish('interop'));

function startAgent(): ChildProcess {
  const args = [join(root, 'src', 'cli', 'dekd.ts'), '--development', '--state', state];
  return spawn(process.execPath, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEKD_CONFIG: '' },
  });
}

async function listens(socket: string, child: ChildProcess): Promise<void> {
  for (const end = Date.now() + START_MS; Date.now() < end; await delay(50)) {
    if (child.exitCode !== null) throw new Error(`it ended with status ${child.exitCode}`);
    if (existsSync(socket) && (await connects(socket))) return;
  }
  throw new Error(`no socket within ${START_MS} ms`);
}

function connects(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(socket, () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}

async function stopped(child: ChildProcess): Promise<void> {
  const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const status = await Promise.race([exit, delay(STOP_MS, 'timeout' as const)]);
  if (status !== 0) throw new Error(`status ${status}`);
}
