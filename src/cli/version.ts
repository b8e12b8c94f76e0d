import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';

/** dekd's version, from the package that this file is part of. */
export function packageVersion(): string {
  const file = findPackageJSON('.', import.meta.url);
  if (file === undefined) throw new Error('package.json is missing from the package');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
