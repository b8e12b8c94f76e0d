import { existsSync, realpathSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { dirname, join, sep } from 'node:path';

/**
 * The directories that a child loads code from: dekd with its packages, and those in which Node finds the vendor's `packages` from the module `beside`,
 * which may be hoisted above dekd's own. Each with its real place, for modules go by that.
 */
export function packageDirectories(packages: readonly string[], beside: string): readonly string[] {
  return [...new Set([...ownDirectories(), ...packages.flatMap((name) => directoriesOf(name, beside))])];
}

/** What is wrong with a package that the child found in a directory that it may not read; undefined for any other failure to load one. */
export function hiddenPackage(error: unknown): string | undefined {
  const { code, resource } = error as { code?: unknown; resource?: unknown };
  return code === 'ERR_ACCESS_DENIED'
    ? `is not installed beside dekd, but where its child process may not read (${resource})`
    : undefined;
}

/** When dekd is a package itself: whatever lies beside it, for a package manager may link there from anywhere in it. */
function ownDirectories(): readonly string[] {
  const root = dirname(findPackageJSON('.', import.meta.url)!);
  const shared = modulesAround(root);
  if (shared !== root) return [shared];
  const packages = join(root, 'node_modules');
  return existsSync(packages) ? [root, realpathSync(packages)] : [root];
}

/** None when it is not installed: the child then says so. */
function directoriesOf(name: string, beside: string): readonly string[] {
  const manifest = manifestOf(name, beside);
  if (manifest === undefined) return [];
  const modules = modulesAround(dirname(manifest));
  return [modules, realpathSync(modules), modulesAround(realpathSync(dirname(manifest)))];
}

function manifestOf(name: string, beside: string): string | undefined {
  try {
    return findPackageJSON(name, beside);
  } catch {
    return undefined;
  }
}

/** The outermost node_modules around a package; the package's own directory where there is none. */
function modulesAround(directory: string): string {
  const [before] = directory.split(`${sep}node_modules${sep}`);
  return before === directory ? directory : `${before}${sep}node_modules`;
}
