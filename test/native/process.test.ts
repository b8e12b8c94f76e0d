import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import test from 'ava';
import { boottimeMs, limitProcess, lockFile } from '../../src/crypto/native.ts';
import { ADDON, runChild } from './child.ts';

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

test('limitProcess: so much memory on top of what is there, so many files, and never more again', (t) => {
  const { value } = runChild(`
    const limits = () => {
      const text = fs.readFileSync('/proc/self/limits', 'utf8');
      const row = (name) => new RegExp(name + ' +(\\\\d+) +(\\\\d+)').exec(text).slice(1).map(Number);
      return { data: row('Max data size'), files: row('Max open files') };
    };
    const used = () => Number(/VmData:\\s+(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
    const before = used();
    native.limitProcess(2 ** 26, 100);
    const first = limits();
    native.limitProcess(2 ** 30, 200);
    return { before, first, second: limits() };`);
  interface Limits {
    data: number[];
    files: number[];
  }
  const { before, first, second } = value as { before: number; first: Limits; second: Limits };
  t.deepEqual(first.files, [100, 100]);
  t.is(first.data[0], first.data[1]);
  const growth = first.data[0]! - before;
  t.true(growth >= 2 ** 26 && growth < 2 ** 26 + 2 ** 24, String(growth));
  t.deepEqual(second, first);
  for (const args of [[], [2 ** 24 - 1, 100], [2 ** 38 + 1, 100], [2 ** 26, 15], [2 ** 26, 2 ** 20 + 1], ['1', 100]]) {
    t.throws(() => limitProcess(...(args as [number, number])), { code: 'ERR_INVALID_ARG' });
  }
});

test('endWithParent: killed when its parent is, though it hangs', async (t) => {
  const { value: pid } = runChild(`
    const script = 'require(process.argv[1]).endWithParent(); process.stdout.write("x"); for (;;);';
    const child = require('node:child_process').spawn(process.execPath, ['-e', script, ${JSON.stringify(ADDON)}], {
      stdio: ['ignore', 'pipe', 'inherit'] });
    child.unref();
    return new Promise((resolve) => child.stdout.once('data', () => {
      child.stdout.destroy();
      resolve(child.pid);
    }));`);
  const isAlive = () => existsSync(`/proc/${pid}`) && !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  for (const end = Date.now() + 5_000; isAlive() && Date.now() < end; ) await setTimeout(10);
  t.false(isAlive());
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
