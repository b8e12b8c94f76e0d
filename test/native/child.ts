import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

export const ROOT = join(import.meta.dirname, '..', '..');
export const ADDON = join(ROOT, 'native', 'build', 'dekd.node');

export interface ChildOptions {
  /** RLIMIT_MEMLOCK in KiB, and no CAP_IPC_LOCK, which would lift it. */
  lockLimitKiB?: number;
  addon?: string;
}

export interface ChildResult {
  status: number | null;
  stderr: string;
  /** The script's last expression. */
  value: unknown;
}

/** Runs `script` (a function body, which may return a promise; the addon is `native`) in a process of its own, which has an arena of its own. */
export function runChild(script: string, options: ChildOptions = {}): ChildResult {
  const source = `const native = require(${JSON.stringify(options.addon ?? ADDON)});
    const fs = require('node:fs');
    const codeOf = (call) => { try { call(); } catch (error) { return error.code; } };
    const value = (() => { ${script} })();
    Promise.resolve(value).then((settled) => fs.writeSync(1, JSON.stringify(settled ?? null)));`;
  const [command, ...prefix] = limited(options.lockLimitKiB);
  const child = spawnSync(command!, [...prefix, '-e', source], { encoding: 'utf8' });
  return {
    status: child.status,
    stderr: child.stderr,
    value: child.status === 0 ? JSON.parse(child.stdout) : undefined,
  };
}

function limited(lockLimitKiB: number | undefined): string[] {
  if (lockLimitKiB === undefined) return [process.execPath];
  const shell = ['sh', '-c', `ulimit -l ${lockLimitKiB}; exec "$0" "$@"`, process.execPath];
  const drop = ['setpriv', '--bounding-set=-ipc_lock', '--inh-caps=-ipc_lock'];
  return process.getuid?.() === 0 ? [...drop, ...shell] : shell;
}
