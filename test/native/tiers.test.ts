import { spawn } from 'node:child_process';
import { hkdfSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import test from 'ava';
import { keyNeedles, scanMemory } from '../helpers/scan-memory.ts';
import { ADDON, runChild } from './child.ts';
import { withFile } from './load-key.ts';

/** Opens a page of secret memory, all of whose slots are kept for raw keys: every DEK goes to the second tier. */
const PAGE = `const status = native.openArena({ size: 4096, lock: 'best-effort' });
  const none = new Uint8Array(0), { slots } = status;
  const status1 = () => { const { slotsUsed, sealed, free } = native.arenaStatus(); return { slotsUsed, sealed, free }; };`;

test('DEKs leave an eighth of the slots, at least 64, to raw keys, and go on in the second tier', (t) => {
  const reserves = [
    { size: 1 << 16, slots: 251, reserve: 64 },
    { size: 1 << 20, slots: 4_091, reserve: 511 },
  ];
  for (const { size, slots, reserve } of reserves) {
    const child = runChild(`
      const { free } = native.openArena({ size: ${size}, lock: 'best-effort' });
      const deks = Array.from({ length: ${slots} }, () => native.createKey('dek'));
      const full = native.arenaStatus();
      const raws = Array.from({ length: ${reserve} }, () => native.createKey('raw'));
      const noMore = codeOf(() => native.createKey('raw'));
      for (const handle of [...deks, ...raws]) native.freeKey(handle);
      const { slotsUsed, sealed, free: after } = native.arenaStatus();
      native.createKey('dek');
      return { free, used: full.slotsUsed, sealed: full.sealed, left: full.free, noMore, end: [slotsUsed, sealed, after], first: native.arenaStatus().slotsUsed }`);
    const free = 2 ** 20 - reserve;
    t.deepEqual(child.value, {
      free,
      used: slots - reserve,
      sealed: reserve,
      left: free - slots,
      noMore: 'ERR_NO_MEMORY',
      end: [0, 0, free],
      first: 1,
    });
  }
});

test('under a limit of 4 KiB one locked page serves 20,000 DEKs and 11 raw keys', (t) => {
  const child = runChild(
    `${PAGE}
     const raws = Array.from({ length: slots }, () => native.createKey('raw'));
     const deks = Array.from({ length: 20_000 }, () => native.createKey('dek'));
     const ids = new Set(), out = Buffer.alloc(50), back = Buffer.alloc(10);
     let wrong = 0;
     for (const [at, dek] of deks.entries()) {
       const plaintext = Buffer.from(String(at).padStart(10, '0'));
       ids.add(native.dekId(dek).toString('hex'));
       native.seal(dek, 1, 1, none, 0, plaintext, out, 0);
       native.open(dek, 1, 1, none, 0, out, 0, back);
       if (!back.equals(plaintext)) wrong++;
       if (at > 0 && codeOf(() => native.open(deks[at - 1], 1, 1, none, 0, out, 0, back)) !== 'ERR_AUTHENTICATION') wrong++;
     }
     return { kind: status.kind !== 'unlocked', raws: raws.length, ids: ids.size, wrong, full: status1() }`,
    { lockLimitKiB: 4 },
  );
  t.deepEqual(child.value, {
    kind: true,
    raws: 11,
    ids: 20_000,
    wrong: 0,
    full: { slotsUsed: 11, sealed: 20_000, free: 2 ** 20 - 11 - 20_000 },
  });
});

test('a DEK answers in the second tier as in the first', (t) => {
  const child = runChild(`
    native.openArena({ size: 65536, lock: 'best-effort' });
    const none = new Uint8Array(0), aad = Buffer.from('associated'), kek = native.createKey('raw');
    const first = native.createKey('dek'), wrapped = native.wrapKey(kek, 1, first, aad);
    while (native.arenaStatus().sealed === 0) native.createKey('dek');
    const second = native.unwrapKey(kek, 1, wrapped, aad, 'dek');
    const moved = native.arenaStatus().sealed;
    const differences = [];
    const same = (what, call) => {
      const [a, b] = [first, second].map((handle) => { try { return call(handle); } catch (error) { return error.code; } });
      if (JSON.stringify(a) !== JSON.stringify(b)) differences.push([what, a, b]);
    };
    const across = (what, from, to, use, suite, length) => {
      const plaintext = Buffer.alloc(length, 7), out = Buffer.alloc(length + 40), back = Buffer.alloc(length);
      const written = native.seal(from, use, suite, aad, aad.length, plaintext, out, 0);
      native.open(to, use, suite, aad, aad.length, out.subarray(0, written), 0, back);
      if (!back.equals(plaintext)) differences.push([what, use, suite, length]);
      out[written - 1] ^= 1;
      back.fill(7);
      if (codeOf(() => native.open(to, use, suite, aad, aad.length, out.subarray(0, written), 0, back)) !== 'ERR_AUTHENTICATION') differences.push([what, 'altered']);
      if (back.some((byte) => byte !== 0)) differences.push([what, 'left']);
    };
    for (const use of [1, 2]) for (const suite of [1, 2]) for (const length of [0, 1, 256, 100_000]) {
      across('first to second', first, second, use, suite, length);
      across('second to first', second, first, use, suite, length);
    }
    const block = Buffer.concat([aad, native.blockMac(first, aad)]), id = native.dekId(first);
    same('dekId', (handle) => native.dekId(handle).toString('hex'));
    same('blockMac', (handle) => native.blockMac(handle, aad).toString('hex'));
    same('blockVerify', (handle) => [native.blockVerify(handle, id, block), native.blockVerify(handle, id, aad), native.blockVerify(handle, aad, block)]);
    for (const suite of [1, 2]) {
      same('wrapKey', (handle) => native.dekId(native.unwrapKey(kek, suite, native.wrapKey(kek, suite, handle, aad), aad, 'dek')).toString('hex'));
      for (const length of [1, 32, 128, 129, 1000, 1024]) {
        same('sealDataKey', (handle) => {
          const key = Buffer.alloc(length), out = Buffer.alloc(length + 40), back = Buffer.alloc(length);
          const written = native.sealDataKey(handle, suite, aad, aad.length, length, key, out, 0);
          native.open(handle === first ? second : first, 2, suite, aad, aad.length, out.subarray(0, written), 0, back);
          return [written, back.equals(key), length === 1 || key.some((byte) => byte !== 0)];
        });
      }
    }
    same('seal raw', (handle) => native.seal(handle, 0, 1, none, 0, none, Buffer.alloc(99), 0));
    same('seal suite', (handle) => native.seal(handle, 1, 3, none, 0, none, Buffer.alloc(99), 0));
    same('hmac', (handle) => native.hmac(handle, none).length);
    same('hmacVerify', (handle) => native.hmacVerify(handle, none, none));
    same('deriveKey', (handle) => native.deriveKey(handle, none, none, 32));
    same('unwrapKey', (handle) => native.unwrapKey(handle, 1, wrapped, aad, 'dek'));
    same('wrapKey as kek', (handle) => native.wrapKey(handle, 1, kek, aad).length);
    same('freeKey', (handle) => native.freeKey(handle));
    same('stale', (handle) => native.dekId(handle));
    same('freed twice', (handle) => native.freeKey(handle));
    return { moved, differences }`);
  t.deepEqual(child.value, { moved: 2, differences: [] });
});

test('handles of the second tier go stale, and are never given out twice', (t) => {
  const child = runChild(`${PAGE}
    const handles = [];
    for (let round = 0; round < 3; round++) {
      const some = Array.from({ length: 2_000 }, () => native.createKey('dek'));
      handles.push(...some);
      for (const handle of some) native.freeKey(handle);
    }
    const last = native.createKey('dek');
    const invented = [last + 1, last + 2_000, last - 2 ** 20, last + 2 ** 20, 2 ** 21 - 1, 2 ** 20 + slots + 2_000].map((handle) => codeOf(() => native.dekId(handle)));
    return {
      distinct: new Set(handles).size,
      safe: handles.every(Number.isSafeInteger),
      indexes: new Set(handles.map((handle) => handle % 2 ** 20)).size,
      stale: [...new Set(handles.map((handle) => codeOf(() => native.seal(handle, 1, 1, none, 0, none, Buffer.alloc(40), 0))))],
      invented: [...new Set(invented)],
      ...status1(),
    }`);
  t.deepEqual(child.value, {
    distinct: 6_000,
    safe: true,
    indexes: 2_000,
    stale: ['ERR_STALE_HANDLE'],
    invented: ['ERR_STALE_HANDLE'],
    slotsUsed: 0,
    sealed: 1,
    free: 2 ** 20 - 12,
  });
});

test('maxSealed bounds the second tier, and 0 gives DEKs every slot', (t) => {
  const script = (maxSealed: number) => `
    const { slots, maxSealed, free } = native.openArena({ size: 4096, lock: 'best-effort', maxSealed: ${maxSealed} });
    const deks = [];
    for (let code; code === undefined; ) code = codeOf(() => deks.push(native.createKey('dek')));
    const full = native.arenaStatus().free, raw = codeOf(() => native.createKey('raw')) ?? 'made';
    native.freeKey(deks[0]);
    return { maxSealed, free, deks: deks.length, full, raw, again: codeOf(() => native.createKey('dek')) ?? 'made' }`;
  t.deepEqual(runChild(script(5)).value, { maxSealed: 5, free: 5, deks: 5, full: 0, raw: 'made', again: 'made' });
  const none = { maxSealed: 0, free: 11, deks: 11, full: 0, raw: 'ERR_NO_MEMORY', again: 'made' };
  t.deepEqual(runChild(script(0)).value, none);
});

test('what fails on its way to the second tier costs no place', (t) => {
  const child = runChild(`${PAGE}
    const kek = native.createKey('raw'), folder = fs.openSync('/'), empty = fs.openSync('/dev/null');
    const codes = new Set();
    for (let i = 0; i < 100; i++) {
      codes.add(codeOf(() => native.unwrapKey(kek, 1, Buffer.alloc(72), none, 'dek')));
      codes.add(codeOf(() => native.readKey(folder, 'dek', 32)));
      codes.add(codeOf(() => native.readKey(empty, 'dek', 32)));
    }
    native.createKey('dek');
    return { codes: [...codes], ...status1() }`);
  t.deepEqual(child.value, {
    codes: ['ERR_AUTHENTICATION', 'ERR_SYSTEM', 'ERR_KEY_LENGTH'],
    slotsUsed: 1,
    sealed: 1,
    free: 2 ** 20 - 12,
  });
});

/* Records are found by their dek_id, which is public, and changed as one who writes to the heap could. */
const RECORDS = `
  const memory = fs.openSync('/proc/self/mem', 'r+'), RECORD = 256, ID = 32;
  const areas = () => fs.readFileSync('/proc/self/maps', 'utf8').split('\\n').filter((line) => / rw-p 00000000 00:00 0 *$/.test(line))
    .map((line) => line.split(' ')[0].split('-').map((hex) => parseInt(hex, 16))).filter(([start, end]) => end - start === 262_144);
  const read = (at) => { const bytes = Buffer.alloc(RECORD); fs.readSync(memory, bytes, 0, RECORD, at); return bytes; };
  const write = (at, bytes) => fs.writeSync(memory, bytes, 0, bytes.length, at);
  const find = (handle) => {
    const id = native.dekId(handle);
    for (const [start, end] of areas()) for (let at = start; at < end; at += RECORD) if (read(at).subarray(ID, ID + 32).equals(id)) return at;
    throw new Error('no such record');
  };`;

test('a record does not open in the place of another, nor an earlier one in its own, nor a changed one', (t) => {
  const child = runChild(`${PAGE} ${RECORDS}
    const works = (handle) => codeOf(() => native.seal(handle, 1, 1, none, 0, none, Buffer.alloc(40), 0)) ?? 'works';
    const message = (handle) => { try { native.blockMac(handle, none); } catch (error) { return error.message; } };
    const [a, b] = [native.createKey('dek'), native.createKey('dek')];
    const [atA, atB] = [find(a), find(b)], [recordA, recordB] = [read(atA), read(atB)];
    const answers = { before: [works(a), works(b)] };
    write(atA + ID, recordB.subarray(ID)); write(atB + ID, recordA.subarray(ID));
    answers.swapped = [works(a), works(b), message(a), codeOf(() => native.wrapKey(native.createKey('raw'), 1, a, none)), codeOf(() => native.sealDataKey(b, 1, none, 0, 32, null, Buffer.alloc(99), 0))];
    write(atA + ID, recordA.subarray(ID)); write(atB + ID, recordB.subarray(ID));
    answers.back = [works(a), works(b)];
    answers.changed = new Set();
    for (let at = ID; at < 232; at++) {
      write(atA + at, Buffer.of(recordA[at] ^ 1));
      answers.changed.add(works(a));
      write(atA + at, recordA.subarray(at, at + 1));
    }
    answers.changed = [...answers.changed];
    native.freeKey(a);
    answers.zeroed = read(atA).subarray(ID).every((byte) => byte === 0);
    const next = native.createKey('dek');
    answers.samePlace = find(next) === atA;
    write(atA + ID, recordA.subarray(ID));
    answers.earlier = works(next);
    answers.other = works(b);
    return answers`);
  const refused = 'ERR_CRYPTO';
  t.deepEqual(child.value, {
    before: ['works', 'works'],
    swapped: [refused, refused, 'internal error: a sealed key does not open', refused, refused],
    back: ['works', 'works'],
    changed: [refused],
    zeroed: true,
    samePlace: true,
    earlier: refused,
    other: 'works',
  });
});

for (const [what, maxSealed] of [
  ['nothing is left of a sealed DEK', 1],
  ['nothing is left of a DEK but its slot', 0],
] as const) {
  test(`after every use ${what}`, async (t) => {
    const dek = randomBytes(32);
    /* All of the arena is readable here. */
    const script = `const native = require(${JSON.stringify(ADDON)});
    native.openArena({ size: 4096, lock: 'best-effort', avoidSecretMemory: true, maxSealed: ${maxSealed} });
    const none = new Uint8Array(0), out = Buffer.alloc(2000), big = Buffer.alloc(1 << 20);
    const dek = native.readKey(0, 'dek', 32), kek = native.createKey('raw');
    for (const suite of [1, 2]) {
      const written = native.seal(dek, 1, suite, none, 0, Buffer.alloc(1000), out, 0);
      native.open(dek, 1, suite, none, 0, out.subarray(0, written), 0, Buffer.alloc(2000));
      native.sealDataKey(dek, suite, none, 0, 1024, null, Buffer.alloc(2000), 0);
      native.wrapKey(kek, suite, dek, none);
    }
    native.blockVerify(dek, none, native.blockMac(dek, none));
    native.sealAsync(dek, 1, 1, none, 0, big, none).then((sealed) => native.openAsync(dek, 1, 1, none, 0, sealed, 0)).then(() => {
      console.log(native.arenaStatus().sealed);
      setInterval(() => {}, 1000);
    });`;
    const child = withFile(dek, (fd) => spawn(process.execPath, ['-e', script], { stdio: [fd, 'pipe', 'inherit'] }));
    t.teardown(() => child.kill());
    const [sealed] = (await once(child.stdout!, 'data')) as [Buffer];
    t.is(Number(sealed), maxSealed);
    const keys = ['dek-block', 'message', 'data-key'].map(
      (label) => [label, Buffer.from(hkdfSync('sha256', dek, 'dekd v1', label, 32))] as const,
    );
    const needles = [['DEK', dek] as const, ...keys].flatMap(([label, key]) => keyNeedles(label, key));
    const found = scanMemory(child.pid!, needles).findings.map(({ needle }) => needle);
    const all = ['DEK', 'dek-block', 'message', 'data-key'].flatMap((label) => [
      `${label}, raw, first half`,
      `${label}, raw, second half`,
    ]);
    t.deepEqual(found.sort(), maxSealed === 1 ? [] : all.sort());
  });
}
