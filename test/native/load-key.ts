import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openArena, readKey, type SlotHandle, type SlotKind } from '../../src/crypto/native.ts';

/** Opens the process's arena for a test file: the first file that asks gives it its size. */
export function openTestArena(): void {
  openArena({ size: 1 << 20, lock: 'best-effort' });
}

/** Known bytes in a slot. There is no way in but a file descriptor. */
export function loadKey(bytes: Uint8Array, kind: SlotKind): SlotHandle {
  return withFile(bytes, (fd) => readKey(fd, kind, bytes.length));
}

export function withFile<T>(bytes: Uint8Array, use: (fd: number) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'dekd-key-'));
  const path = join(folder, 'key');
  writeFileSync(path, bytes);
  const fd = openSync(path, 'r');
  try {
    return use(fd);
  } finally {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  }
}

/** The `code` of what `call` throws; undefined when it returns. */
export function codeOf(call: () => unknown): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code ?? `no code: ${error}`;
  }
}

/** The same for what it rejects with; a call that throws instead of rejecting is told as such. */
export async function codeOfJob(call: () => Promise<unknown>): Promise<string | undefined> {
  let job: Promise<unknown>;
  try {
    job = call();
  } catch (error) {
    return `thrown: ${error}`;
  }
  return job.then(
    () => undefined,
    (error: { code?: string }) => error.code ?? `no code: ${error}`,
  );
}
