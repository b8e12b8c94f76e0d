import { spawnSync } from 'node:child_process';
import type { ExecutionContext } from 'ava';

export const PYTHON = process.env['DEKD_TEST_PYTHON'] ?? 'python3';

/** Whether a test of the tools in Python can run. Where it cannot, it says so loudly, and in CI (`CI=true`) it fails. */
export function requirePython(t: ExecutionContext): boolean {
  if (spawnSync(PYTHON, ['-c', 'import cryptography']).status === 0) return true;
  const message = `NOT RUN: "${t.title}" needs the package cryptography, for ${PYTHON} (DEKD_TEST_PYTHON)`;
  process.stderr.write(`\n${message}\n\n`);
  if (process.env['CI'] === 'true') t.fail(message);
  else t.pass(message);
  return false;
}
