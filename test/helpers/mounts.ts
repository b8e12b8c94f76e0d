import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { requireRoot } from './require-root.ts';

/** A disk of its own for a test, which needs root; unmounted and removed when the test ends. */
export interface Mount {
  readonly path: string;
  /** Options of mount(8): `ro`, `rw`, `abort`. Throws what mount says. */
  remount(options: string): void;
}

/** Whether this process may mount disks: root of a container often may not. Says so loudly where it may not, and fails in CI. */
export function requireMounts(t: ExecutionContext): boolean {
  if (!requireRoot(t, 'it mounts a small disk')) return false;
  const { path } = mountPoint(t);
  const { status, stderr, error } = spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', path], { encoding: 'utf8' });
  if (status === 0) {
    run('umount', path);
    return true;
  }
  const message = `NOT RUN: "${t.title}" needs to mount a small disk: ${error?.message ?? stderr}`;
  process.stderr.write(`\n${message}\n\n`);
  if (process.env['CI'] === 'true') t.fail(message);
  else t.pass(message);
  return false;
}

/** A disk in memory, of `size` (`512k`). */
export function mountMemory(t: ExecutionContext, size: string): Mount {
  const { path } = mountPoint(t);
  run('mount', '-t', 'tmpfs', '-o', `size=${size},mode=0700`, 'tmpfs', path);
  unmountAtEnd(t, path);
  return { path, remount: (options) => run('mount', '-o', `remount,${options}`, path) };
}

/** An ext4 file system in a file of 8 MiB. `remount('abort')` makes it read-only under open files, as ext4 does when the disk fails. */
export class FileSystem implements Mount {
  readonly path: string;
  readonly #image: string;

  constructor(t: ExecutionContext) {
    const { path, parent } = mountPoint(t);
    this.path = path;
    this.#image = join(parent, 'image');
    run('truncate', '-s', '8M', this.#image);
    run('mkfs.ext4', '-q', this.#image);
    this.#mount();
    unmountAtEnd(t, path);
  }

  remount(options: string): void {
    run('mount', '-o', `remount,${options}`, this.path);
  }

  /** What an operator does with a disk that failed: unmounts it, has it checked, mounts it again. Nothing may have it open. */
  repair(): void {
    run('umount', this.path);
    // 1: errors were corrected (e2fsck(8)).
    run('sh', '-c', 'e2fsck -fy "$0" || [ $? = 1 ]', this.#image);
    this.#mount();
  }

  #mount(): void {
    run('mount', '-o', 'loop,errors=remount-ro', this.#image, this.path);
  }
}

function mountPoint(t: ExecutionContext): { path: string; parent: string } {
  const parent = mkdtempSync(join(tmpdir(), 'dekd-mount-'));
  t.teardown(() => rmSync(parent, { recursive: true, force: true }));
  const path = join(parent, 'disk');
  mkdirSync(path);
  return { path, parent };
}

/** Lazily: a process that did not end does not keep the disk. Teardowns run in reverse order, so this is before the removal. */
function unmountAtEnd(t: ExecutionContext, path: string): void {
  t.teardown(() => void spawnSync('umount', ['--lazy', path]));
}

function run(command: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr}`);
}
