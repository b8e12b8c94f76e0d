import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Caller } from './callers.ts';
import type { Place } from './place.ts';

const DEKCTL = fileURLToPath(new URL('../../src/cli/dekctl.ts', import.meta.url));
/** Another user may not be able to read a checkout: this capability lets it, and changes nothing about who is calling. */
const CAPABILITIES = ['--inh-caps=+dac_override', '--ambient-caps=+dac_override'];

export interface Told {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs dekctl as that user runs it, on the place's sockets. Needs root and setpriv(1). */
export function dekctlAs(place: Place, caller: Caller, args: readonly string[], input: string | Buffer = ''): Told {
  const sockets = ['--socket', place.agentSocket, '--admin-socket', place.adminSocket];
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', DEKCTL, ...args, ...sockets];
  const user = [`--reuid=${caller.uid}`, `--regid=${caller.gid ?? caller.uid}`, '--clear-groups'];
  const run = spawnSync('setpriv', [...user, ...CAPABILITIES, ...node], {
    input,
    encoding: 'latin1',
    timeout: 60_000,
    cwd: place.directory,
  });
  return { code: run.status, stdout: run.stdout, stderr: run.stderr };
}
