import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { ArenaStatus } from '../../src/crypto/native.ts';
import { ADDON, runChild } from './child.ts';

const STATUS = `return native.openArena(options)`;
const slots = (size: number) => Math.floor((size - 64 - 64 - 1024) / 256);

function open(options: object, lockLimitKiB?: number): ArenaStatus {
  const script = `const options = ${JSON.stringify(options)}; ${STATUS}`;
  return runChild(script, lockLimitKiB === undefined ? {} : { lockLimitKiB }).value as ArenaStatus;
}

test('whole pages of secret memory, with their slots', (t) => {
  const status = open({ size: 10_000, lock: 'required' });
  t.is(status.requested, 10_000);
  t.is(status.size, 12_288);
  t.is(status.slots, slots(12_288));
  t.is(status.slotsUsed, 0);
  t.is(status.layout, 2);
  t.deepEqual([status.sealed, status.maxSealed], [0, 2 ** 20 - status.slots]);
  if (status.kind !== 'memfd_secret') t.log(`this kernel gives ${status.kind}, not memfd_secret`);
});

test('every page is there soon after opening, and what was written meanwhile stays', (t) => {
  for (const avoidSecretMemory of [false, true]) {
    const child = runChild(`
      native.openArena({ size: 5 << 20, lock: 'required', avoidSecretMemory: ${avoidSecretMemory} });
      const ids = [];
      for (let i = 0; i < 20_000; i++) { const key = native.createKey('dek'); ids.push([key, native.dekId(key)]); }
      const residentKib = () => /^Size: +5120 kB\\n(?:.*\\n)*?Rss: +(\\d+) kB$/m.exec(fs.readFileSync('/proc/self/smaps', 'utf8'))[1];
      const endsMs = performance.now() + 20_000;
      while (residentKib() !== '5120' && performance.now() < endsMs) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
      return { there: residentKib(), changed: ids.filter(([key, id]) => !native.dekId(key).equals(id)).length }`);
    t.deepEqual(child.value, { there: '5120', changed: 0 }, child.stderr);
  }
});

test('without memfd_secret the arena is locked with mlock', (t) => {
  const child = runChild(`
    const status = native.openArena({ size: 65536, lock: 'required', avoidSecretMemory: true });
    return { status, locked: /VmLck:\\s*(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1] }`);
  const { status, locked } = child.value as { status: ArenaStatus; locked: string };
  t.is(status.kind, 'mlock');
  t.is(Number(locked), 64);
});

test('a limit of 64 KiB is taken whole', (t) => {
  for (const avoidSecretMemory of [false, true]) {
    const status = open({ size: 1 << 20, lock: 'required', avoidSecretMemory }, 64);
    t.is(status.size, 65_536);
    t.is(status.slots, slots(65_536));
    t.is(status.requested, 1 << 20);
    t.not(status.kind, 'unlocked');
  }
});

test('one page is enough to run', (t) => {
  for (const avoidSecretMemory of [false, true]) {
    const child = runChild(
      `
      const status = native.openArena({ size: 1 << 20, lock: 'required', avoidSecretMemory: ${avoidSecretMemory} });
      const [dek, kek] = [native.createKey('dek'), native.createKey('raw')];
      const none = new Uint8Array(0);
      const again = native.unwrapKey(kek, 1, native.wrapKey(kek, 1, dek, none), none, 'dek');
      return { size: status.size, same: native.dekId(dek).equals(native.dekId(again)) }`,
      { lockLimitKiB: 4 },
    );
    t.deepEqual(child.value, { size: 4096, same: true });
  }
});

test('what is locked already counts against the limit, and all of the rest is used', (t) => {
  /* A copy of the addon is another library, with an arena of its own. */
  const folder = mkdtempSync(join(tmpdir(), 'dekd-arena-'));
  const copy = join(folder, 'dekd.node');
  copyFileSync(ADDON, copy);
  const child = runChild(
    `return [native, require(${JSON.stringify(copy)})].map((n, i) => n.openArena({ size: i ? 1 << 20 : 20480, lock: 'required' }).size)`,
    { lockLimitKiB: 48 },
  );
  rmSync(folder, { recursive: true });
  t.deepEqual(child.value, [20_480, 28_672]);
});

test('no lockable memory: refused with the way out, unless best-effort', (t) => {
  const script = (lock: string) => `
    try { return native.openArena({ size: 65536, lock: '${lock}' }); } catch (error) { return [error.code, error.message]; }`;
  const [code, message] = runChild(script('required'), { lockLimitKiB: 0 }).value as [string, string];
  t.is(code, 'ERR_NO_LOCKED_MEMORY');
  t.regex(message, /RLIMIT_MEMLOCK.*memory\.lock: best-effort/);
  const status = runChild(script('best-effort'), { lockLimitKiB: 0 }).value as ArenaStatus;
  t.is(status.kind, 'unlocked');
  t.is(status.size, 65_536);
});

test('a failed open may be tried again', (t) => {
  const child = runChild(
    `const first = codeOf(() => native.openArena({ size: 4096, lock: 'required' }));
     return [first, native.openArena({ size: 4096, lock: 'best-effort' }).kind]`,
    { lockLimitKiB: 0 },
  );
  t.deepEqual(child.value, ['ERR_NO_LOCKED_MEMORY', 'unlocked']);
});

test('a second open changes nothing', (t) => {
  const child = runChild(`
    const first = native.openArena({ size: 8192, lock: 'best-effort' });
    native.createKey('raw');
    return [first, native.openArena({ size: 1 << 20, lock: 'required', avoidSecretMemory: true })]`);
  const [first, second] = child.value as [ArenaStatus, ArenaStatus];
  t.deepEqual(second, { ...first, slotsUsed: 1 });
});

test('before an arena is open every call that needs one says so', (t) => {
  const child = runChild(`
    const b = Buffer.alloc(128);
    return [
      () => native.arenaStatus(), () => native.createKey('dek'), () => native.readKey(0, 'raw', 1), () => native.freeKey(1048576),
      () => native.deriveKey(1048576, b, b, 32), () => native.hmac(1048576, b), () => native.hmacVerify(1048576, b, b),
      () => native.dekId(1048576), () => native.blockMac(1048576, b), () => native.blockVerify(1048576, b, b),
      () => native.seal(1048576, 1, 1, b, 0, Buffer.alloc(1), Buffer.alloc(128), 0), () => native.open(1048576, 1, 1, b, 0, b, 0, Buffer.alloc(128)),
      () => native.sealDataKey(1048576, 1, b, 0, 1, null, Buffer.alloc(128), 0), () => native.wrapKey(1048576, 1, 1048576, b),
      () => native.unwrapKey(1048576, 1, b, b, 'raw'),
    ].map(codeOf)`);
  t.deepEqual(new Set(child.value as string[]), new Set(['ERR_NOT_OPEN']));
  const jobs = runChild(`
    const b = Buffer.alloc(128);
    return Promise.all([native.sealAsync(1048576, 1, 1, b, 0, b, b), native.openAsync(1048576, 1, 1, b, 0, b, 0)].map((job) => job.catch((error) => error.code)))`);
  t.deepEqual(jobs.value, ['ERR_NOT_OPEN', 'ERR_NOT_OPEN']);
});

const MAPS = `
  const lines = fs.readFileSync('/proc/self/maps', 'utf8').trim().split('\\n').map((line) => {
    const [, start, end, access, rest] = /^(\\w+)-(\\w+) (\\S+) (.*)$/.exec(line);
    return { start: parseInt(start, 16), end: parseInt(end, 16), access, rest };
  });`;

test('guard pages on both sides of secret memory', (t) => {
  const child = runChild(`
    const { kind } = native.openArena({ size: 65536, lock: 'best-effort' }); ${MAPS}
    const at = lines.findIndex(({ rest }) => rest.includes('secretmem'));
    return { kind, before: lines[at - 1], arena: lines[at], after: lines[at + 1] }`);
  const { kind, before, arena, after } = child.value as Record<
    string,
    { start: number; end: number; access: string }
  > & {
    kind: string;
  };
  if (kind !== 'memfd_secret') {
    t.pass(`skipped: this kernel gives ${kind}`);
    return;
  }
  t.is(arena!.end - arena!.start, 65_536);
  t.regex(arena!.access, /^rw-/);
  t.is(before!.end, arena!.start);
  t.is(after!.start, arena!.end);
  t.regex(before!.access, /^---/);
  t.regex(after!.access, /^---/);
});

test('secret memory cannot be read through /proc/self/mem, locked memory can', (t) => {
  const script = (avoid: boolean) => `
    const before = new Set(fs.readFileSync('/proc/self/maps', 'utf8').split('\\n').map((line) => line.split('-')[0]));
    const { kind } = native.openArena({ size: 40960, lock: 'best-effort', avoidSecretMemory: ${avoid} }); ${MAPS}
    const mem = fs.openSync('/proc/self/mem', 'r');
    const head = Buffer.alloc(8);
    const found = lines.filter((line) => line.access.startsWith('rw') && line.end - line.start === 40960).map((line) => {
      try { fs.readSync(mem, head, 0, 8, line.start); return head.toString('latin1', 0, 7); } catch (error) { return error.code; }
    });
    return { kind, found }`;
  const locked = runChild(script(true)).value as { found: string[] };
  t.true(locked.found.includes('DEKDMEM'));
  const secret = runChild(script(false)).value as { kind: string; found: string[] };
  if (secret.kind !== 'memfd_secret') {
    t.pass(`skipped: this kernel gives ${secret.kind}`);
    return;
  }
  t.false(secret.found.includes('DEKDMEM'));
  t.true(secret.found.includes('EIO'));
});

test('neither in a core dump nor in a forked child', (t) => {
  for (const avoidSecretMemory of [false, true]) {
    const child = runChild(`
      native.openArena({ size: 40960, lock: 'required', avoidSecretMemory: ${avoidSecretMemory} });
      return fs.readFileSync('/proc/self/smaps', 'utf8').split(/\\n(?=[0-9a-f]+-[0-9a-f]+ )/)
        .filter((part) => /^Size: +40 kB/m.test(part) && / rw-/.test(part)).map((part) => /VmFlags: (.*)/.exec(part)[1])`);
    t.true(
      (child.value as string[]).some((flags) => /\bdc\b/.test(flags) && /\bdd\b/.test(flags) && /\blo\b/.test(flags)),
    );
  }
});

test('slots run out with ERR_NO_MEMORY and come back', (t) => {
  const child = runChild(`
    const { slots } = native.openArena({ size: 4096, lock: 'best-effort', maxSealed: 0 });
    const handles = Array.from({ length: slots }, () => native.createKey('dek'));
    const none = new Uint8Array(0);
    const full = [
      () => native.createKey('raw'), () => native.readKey(0, 'raw', 1), () => native.deriveKey(handles[0], none, none, 1),
      () => native.unwrapKey(handles[0], 1, none, none, 'dek'),
    ].map(codeOf);
    const { slotsUsed: used, free } = native.arenaStatus();
    for (const handle of handles) native.freeKey(handle);
    const empty = native.arenaStatus();
    const again = Array.from({ length: slots }, () => native.createKey('raw'));
    return { slots, full, used, free, empty: [empty.slotsUsed, empty.free], distinct: new Set([...handles, ...again]).size, stale: handles.map((h) => codeOf(() => native.freeKey(h))) }`);
  t.deepEqual(child.value, {
    slots: 11,
    full: ['ERR_NO_MEMORY', 'ERR_NO_MEMORY', 'ERR_WRONG_KIND', 'ERR_NO_MEMORY'],
    used: 11,
    free: 0,
    empty: [0, 11],
    distinct: 22,
    stale: Array(11).fill('ERR_STALE_HANDLE'),
  });
});
