import { readFileSync, writeFileSync } from 'node:fs';

/** Puts a fault into a copy of a source. Throws when the place is not found exactly once. */
export function writePatched(path: string, right: string, wrong: string): void {
  const parts = readFileSync(path, 'utf8').split(right);
  if (parts.length !== 2) throw new Error(`${path} has ${JSON.stringify(right)} ${parts.length - 1} times`);
  writeFileSync(path, parts.join(wrong));
}
