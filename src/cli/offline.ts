import { statSync } from 'node:fs';
import { join } from 'node:path';
import { hardenProcess, openArena } from '../crypto/native.ts';
import { DekdError } from '../errors.ts';
import { EXIT, EXIT_BY_REASON } from './exit-codes.ts';
import { CliError, systemProblem } from './messages.ts';
import { checkNodeVersion, revealingSwitches } from './runtime.ts';

/** A few keys at a time. */
const SECRET_MEMORY_BYTES = 65_536;

/**
 * Runs what works on a keystore in this process, which is first made as safe for a root key as dekd is. Errors keep their text and lose their
 * reason, which speaks of an agent and its upstreams. Throws CliError.
 */
export function offline<Result>(directory: string, work: () => Result): Result {
  checkNodeVersion();
  secureProcess();
  refuseOthersKeystore(directory);
  try {
    return work();
  } catch (error) {
    if (!(error instanceof DekdError)) throw error;
    const damaged = error.reason === 'UPSTREAM_FAULT';
    throw new CliError(damaged ? EXIT.failure : EXIT_BY_REASON[error.reason], error.message);
  }
}

function secureProcess(): void {
  const revealing = revealingSwitches(process.execArgv, process.env);
  if (revealing.length > 0) {
    const text = `${revealing.join(' and ')} may open this process's memory, and with it the root key, to others; start dekctl without`;
    throw new CliError(EXIT.failure, text);
  }
  hardenProcess();
  try {
    openArena({ size: SECRET_MEMORY_BYTES, lock: 'required' });
  } catch (error) {
    throw new CliError(EXIT.failure, `memory: ${(error as Error).message}`);
  }
}

/** Files that root made in the directory of dekd's user would keep dekd from opening its store. */
function refuseOthersKeystore(directory: string): void {
  const us = process.geteuid?.();
  for (const path of [directory, join(directory, 'keystore.db')]) {
    const owner = ownerOf(path);
    if (owner === undefined || owner === 0 || owner === us) continue;
    const user = `setpriv --reuid=${owner} --clear-groups dekctl keystore …`;
    throw new CliError(
      EXIT.usage,
      `keystore ${directory}: ${path} belongs to uid ${owner}; run this as that user: ${user}`,
    );
  }
}

function ownerOf(path: string): number | undefined {
  try {
    return statSync(path).uid;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new CliError(EXIT.inputOutput, `${path}: ${systemProblem(error)}`);
  }
}
