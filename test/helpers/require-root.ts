import type { ExecutionContext } from 'ava';

/**
 * Whether a test that needs root can run. Where it cannot, it says so loudly, and in CI (`CI=true`) it fails: a proof that did not
 * run proves nothing.
 */
export function requireRoot(t: ExecutionContext, why: string): boolean {
  if (process.getuid?.() === 0) return true;
  const message = `NOT RUN: "${t.title}" needs root (${why}); run it with: sudo --preserve-env npm run test:e2e`;
  process.stderr.write(`\n${message}\n\n`);
  if (process.env['CI'] === 'true') t.fail(message);
  else t.pass(message);
  return false;
}
