import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { INSTALLATIONS, missing } from '../counterpart.ts';
import { hasBinding, interposed, runWith, type SoftHsm } from '../softhsm/start.ts';

const SO_PIN = '12345678';

/** Where install.sh put it. */
const LIBRARY = join(INSTALLATIONS, `kryoptic-${digest()}`, 'libkryoptic.so');

export const hasKryoptic = existsSync(LIBRARY) && hasBinding;

/** Whether a test that needs kryoptic can run. Where it cannot, it says so loudly, and in CI (`CI=true`) it fails. */
export function requireKryoptic(t: ExecutionContext): boolean {
  if (!hasKryoptic) missing(t, 'kryoptic');
  return hasKryoptic;
}

/** One slot for one token, its objects in SQLite; all else as SoftHSM. */
export function startKryoptic(): SoftHsm {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-kryoptic-'));
  const configuration = join(directory, 'kryoptic.conf');
  const database = join(directory, 'token.sql');
  writeFileSync(configuration, `[[slots]]\nslot = 42\ndbtype = "sqlite"\ndbargs = "${database}"\n`);
  const environment = { KRYOPTIC_CONF: configuration };
  return {
    ...interposed({ directory, library: LIBRARY, configuration, environment }),
    initialize: (label, pin) => {
      const program = join(import.meta.dirname, 'initialize.ts');
      runWith(environment, process.execPath, program, LIBRARY, label, SO_PIN, pin);
      return database;
    },
  };
}

/** As install.sh has it. */
function digest(): string {
  const hash = createHash('sha256');
  for (const name of ['Cargo.toml', 'Cargo.lock', 'module.rs'])
    hash.update(readFileSync(join(import.meta.dirname, name)));
  return hash.digest('hex').slice(0, 12);
}
