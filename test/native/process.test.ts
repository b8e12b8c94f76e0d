import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import test from 'ava';
import { boottimeMs, lockFile } from '../../src/crypto/native.ts';
import { runChild } from './child.ts';

test('boottimeMs is /proc/uptime, in milliseconds with fractions, and goes on', async (t) => {
  const before = boottimeMs();
  t.true(Math.abs(before - Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000) < 1000);
  await setTimeout(20);
  const passed = boottimeMs() - before;
  t.true(passed >= 19 && passed < 5000, String(passed));
  t.true([1, 2, 3, 4, 5].some(() => !Number.isInteger(boottimeMs())));
});

test('hardenProcess: not dumpable, no core, and twice is once', (t) => {
  const child = runChild(`
    const before = fs.statSync('/proc/self/mem').uid;
    const [first, second] = [native.hardenProcess(), native.hardenProcess()];
    return { first, second, before, limit: /core file size +(\\d+) +(\\d+)/.exec(fs.readFileSync('/proc/self/limits', 'utf8')).slice(1) }`);
  const hardened = { dumpable: false, coreLimit: 0 };
  const { first, second, limit } = child.value as { first: object; second: object; limit: string[] };
  t.deepEqual([first, second], [hardened, hardened]);
  t.deepEqual(limit, ['0', '0']);
});

test('lockFile: one holder at a time, until it closes or dies', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'dekd-lock-'));
  const path = join(folder, 'lock');
  const fd = openSync(path, 'w');
  const inChild = () => runChild(`return native.lockFile(fs.openSync(${JSON.stringify(path)}, 'r'))`).value;
  t.true(inChild());
  t.true(lockFile(fd));
  t.true(lockFile(fd), 'again on the same descriptor');
  t.false(inChild());
  closeSync(fd);
  t.true(inChild());
  rmSync(folder, { recursive: true });
  t.throws(() => lockFile(2 ** 31 - 1), { code: 'ERR_SYSTEM' });
});
