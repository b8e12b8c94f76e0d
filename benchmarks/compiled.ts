import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');

/** Compiles dekd as it is published, into `dist` of a directory of its own: the checkout's launchers would run a dist/ that lies there. */
export function buildProgram(directory: string): void {
  copySources(directory, ['src', 'native', 'proto', 'tools', 'package.json']);
  execFileSync('npm', ['run', '-s', 'build'], { cwd: directory, stdio: ['ignore', 'inherit', 'inherit'] });
}

/** Compiles module by module, unlike `npm run build`, so that some can be loaded by their place; `more`: folders of modules beside src. */
export function compileModules(directory: string, ...more: string[]): void {
  copySources(directory, ['src', 'native', 'package.json', 'tsconfig.json', ...more]);
  writeFileSync(
    join(directory, 'tsconfig.bench.json'),
    JSON.stringify({
      extends: './tsconfig.json',
      compilerOptions: { noEmit: false, outDir: 'dist', rootDir: '.' },
      include: ['src', ...more],
    }),
  );
  execFileSync(join(ROOT, 'node_modules', '.bin', 'tsc'), ['-p', 'tsconfig.bench.json'], {
    cwd: directory,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
}

/** Resident memory of a process, in MiB. */
export function rssMib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) / 1024;
}

function copySources(directory: string, sources: readonly string[]): void {
  for (const name of sources) cpSync(join(ROOT, name), join(directory, name), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
}
