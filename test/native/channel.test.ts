import { closeSync, constants as fileConstants, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { constants } from 'node:os';
import test, { type ExecutionContext } from 'ava';
import {
  closeKeyChannel,
  createKey,
  dekId,
  freeKey,
  openArena,
  openKeyChannel,
  receiveKey,
  type SlotHandle,
  sendKey,
} from '../../src/crypto/native.ts';
import { ADDON, runChild } from './child.ts';

// The arena is shared with the other tests of this process, so what is counted is counted in processes of its own (runChild).
openArena({ size: 1 << 20, lock: 'best-effort' });

const KEY = Buffer.from(Array.from({ length: 32 }, (_, at) => at));
/** Of KEY: docs/envelope.md, first vector. */
const KEY_ID = '4348df81d3f8079cb6552da9a317bf7ac102c4acc7e5e02665d7c48819109bfd';
const MAX_ID = Number.MAX_SAFE_INTEGER;

test('a DEK goes from slot to slot, either way, in order', (t) => {
  const { parent, child } = channel(t);
  for (const [from, to] of [
    [parent, child],
    [child, parent],
  ] as const) {
    const deks = [dek(t), dek(t), dek(t)];
    for (const [at, one] of deks.entries()) sendKey(from, at, one);
    for (const [at, one] of deks.entries()) {
      const arrived = received(t, to, at);
      t.not(arrived, one);
      t.deepEqual(dekId(arrived), dekId(one));
    }
  }
});

test('a packet is the id, big-endian, and the key', (t) => {
  const { parent, child } = channel(t);
  writeSync(child, packet(MAX_ID, KEY));
  const known = received(t, parent, MAX_ID);
  t.is(dekId(known).toString('hex'), KEY_ID);
  sendKey(parent, MAX_ID - 1, known);
  const bytes = Buffer.alloc(100);
  t.is(readSync(child, bytes), 40);
  t.deepEqual(bytes.subarray(0, 40), packet(MAX_ID - 1, KEY));
});

test('where nothing is, or nobody any more, there is no key', (t) => {
  const { parent, child } = openKeyChannel();
  t.throws(() => receiveKey(parent, 1, 'dek'), { code: 'ERR_NO_KEY' });
  closeKeyChannel(child);
  t.throws(() => receiveKey(parent, 1, 'dek'), { code: 'ERR_NO_KEY' });
  t.throws(() => sendKey(parent, 1, dek(t)), { code: 'ERR_SYSTEM', message: /Broken pipe/ });
  closeKeyChannel(parent);
});

test('a packet of another size or id is refused and gone', (t) => {
  const { parent, child } = channel(t);
  const wrong = [packet(2, KEY), packet(2 ** 32 + 1, KEY), packet(1, KEY.subarray(1)), KEY, Buffer.of(0)];
  for (const bytes of [...wrong, Buffer.concat([packet(1, KEY), KEY]), Buffer.concat([packet(1, KEY), Buffer.of(0)])]) {
    writeSync(child, bytes);
    writeSync(child, packet(1, KEY));
    t.throws(() => receiveKey(parent, 1, 'dek'), { code: 'ERR_KEY_PACKET' }, `${bytes.length} bytes`);
    t.is(dekId(received(t, parent, 1)).toString('hex'), KEY_ID);
  }
});

test('a channel that nobody reads is full at last, and takes no harm', (t) => {
  const { parent, child } = channel(t);
  const one = dek(t);
  let count = 0;
  const full = t.throws<NodeJS.ErrnoException>(() => {
    for (; count < 100_000; count++) sendKey(parent, count, one);
  });
  t.is(full?.errno, constants.errno.EAGAIN);
  t.true(count >= 128, `only ${count} keys fit`);
  for (let id = 0; id < count; id++) freeKey(receiveKey(child, id, 'dek'));
  t.throws(() => receiveKey(child, count, 'dek'), { code: 'ERR_NO_KEY' });
});

test('a key goes to a key channel or nowhere', async (t) => {
  const one = dek(t);
  const file = openSync('/dev/null', 'r+');
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { fd: tcp } = (server as unknown as { _handle: { fd: number } })._handle;
  for (const [fd, errno] of [
    [file, constants.errno.ENOTSOCK],
    [tcp, constants.errno.EPROTOTYPE],
    [2 ** 31 - 1, constants.errno.EBADF],
  ] as const) {
    t.is(t.throws<NodeJS.ErrnoException>(() => sendKey(fd, 1, one), { code: 'ERR_SYSTEM' })?.errno, errno);
    t.is(t.throws<NodeJS.ErrnoException>(() => closeKeyChannel(fd), { code: 'ERR_SYSTEM' })?.errno, errno);
    t.is(t.throws<NodeJS.ErrnoException>(() => receiveKey(fd, 1, 'dek'), { code: 'ERR_SYSTEM' })?.errno, errno);
  }
  closeSync(file);
  server.close();
});

test('only a live DEK is sent', (t) => {
  const { parent, child } = channel(t);
  const raw = createKey('raw');
  t.teardown(() => freeKey(raw));
  const freed = createKey('dek');
  freeKey(freed);
  t.throws(() => sendKey(parent, 1, raw), { code: 'ERR_WRONG_KIND' });
  t.throws(() => sendKey(parent, 1, freed), { code: 'ERR_STALE_HANDLE' });
  for (const id of [-1, 0.5, 2 ** 53, Number.NaN, '1']) {
    t.throws(() => sendKey(parent, id as number, dek(t)), { code: 'ERR_INVALID_ARG' });
    t.throws(() => receiveKey(parent, id as number, 'dek'), { code: 'ERR_INVALID_ARG' });
  }
  t.throws(() => receiveKey(parent, 1, 'kek' as 'dek'), { code: 'ERR_INVALID_ARG' });
  t.throws(() => receiveKey(child, 1, 'dek'), { code: 'ERR_NO_KEY' }, 'nothing was sent');
});

test('neither end blocks or is inherited', (t) => {
  const { parent, child } = channel(t);
  for (const fd of [parent, child]) {
    const flags = Number.parseInt(/flags:\s+([0-7]+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!, 8);
    t.truthy(flags & 0o2000000, 'O_CLOEXEC');
    t.truthy(flags & fileConstants.O_NONBLOCK);
  }
});

const arenas: Readonly<Record<string, string>> = {
  'memory that the kernel does not map': `{ size: 4096, lock: 'best-effort' }`,
  'locked memory': `{ size: 4096, lock: 'best-effort', avoidSecretMemory: true }`,
};
for (const [name, options] of Object.entries(arenas)) {
  test(`both tiers, in ${name}`, (t) => {
    const { value } = runChild(`
      native.openArena(${options});
      const { parent, child } = native.openKeyChannel();
      const deks = Array.from({ length: 30 }, () => native.createKey('dek'));
      const { slotsUsed, sealed } = native.arenaStatus();
      for (const [id, dek] of deks.entries()) native.sendKey(parent, id, dek);
      const arrived = deks.map((_, id) => native.receiveKey(child, id, 'dek'));
      const same = arrived.every((dek, at) => native.dekId(dek).equals(native.dekId(deks[at])));
      for (const dek of [...deks, ...arrived]) native.freeKey(dek);
      const after = native.arenaStatus();
      return { same, sealed, left: after.slotsUsed + after.sealed };`);
    t.like(value, { same: true, left: 0 });
    t.true((value as { sealed: number }).sealed > 0, 'some lay in the second tier');
  });
}

test('without room for a key its packet is gone, and the next one finds its own', (t) => {
  const { value } = runChild(`
    native.openArena({ size: 4096, lock: 'best-effort', maxSealed: 0 });
    const { parent, child } = native.openKeyChannel();
    const deks = [];
    while (codeOf(() => deks.push(native.createKey('dek'))) === undefined);
    native.sendKey(parent, 1, deks[0]);
    native.sendKey(parent, 2, deks[1]);
    const code = codeOf(() => native.receiveKey(child, 1, 'dek'));
    native.freeKey(deks.pop());
    const arrived = native.receiveKey(child, 2, 'dek');
    return { code, same: native.dekId(arrived).equals(native.dekId(deks[1])) };`);
  t.deepEqual(value, { code: 'ERR_NO_MEMORY', same: true });
});

test('a refused packet leaves no slot taken', (t) => {
  const { value } = runChild(`
    native.openArena({ size: 4096, lock: 'best-effort' });
    const { parent, child } = native.openKeyChannel();
    const codes = [Buffer.alloc(39), Buffer.alloc(41), Buffer.alloc(40)].map((bytes) => {
      fs.writeSync(child, bytes);
      return codeOf(() => native.receiveKey(parent, 7, 'dek'));
    });
    return { codes: [...codes, codeOf(() => native.receiveKey(parent, 7, 'dek'))], ...native.arenaStatus() };`);
  const code = 'ERR_KEY_PACKET';
  t.like(value, { codes: [code, code, code, 'ERR_NO_KEY'], slotsUsed: 0, sealed: 0 });
});

test('a key crosses to another process', (t) => {
  const { value } = runChild(`
    native.openArena({ size: 4096, lock: 'best-effort' });
    const { parent, child } = native.openKeyChannel();
    const dek = native.createKey('dek');
    native.sendKey(parent, 5, dek);
    const script = 'const native = require(process.argv[1]); native.openArena({ size: 4096, lock: "best-effort" });' +
      'process.stdout.write(native.dekId(native.receiveKey(3, 5, "dek")).toString("hex"))';
    const other = require('node:child_process').spawnSync(process.execPath, ['-e', script, ${JSON.stringify(ADDON)}], {
      stdio: ['ignore', 'pipe', 'inherit', child], encoding: 'utf8' });
    return other.stdout === native.dekId(dek).toString('hex');`);
  t.true(value);
});

function channel(t: ExecutionContext): { parent: number; child: number } {
  const ends = openKeyChannel();
  t.teardown(() => {
    closeKeyChannel(ends.parent);
    closeKeyChannel(ends.child);
  });
  return ends;
}

function dek(t: ExecutionContext): SlotHandle {
  const handle = createKey('dek');
  t.teardown(() => freeKey(handle));
  return handle;
}

function received(t: ExecutionContext, fd: number, id: number): SlotHandle {
  const handle = receiveKey(fd, id, 'dek');
  t.teardown(() => freeKey(handle));
  return handle;
}

function packet(id: number, key: Uint8Array): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(id));
  return Buffer.concat([bytes, key]);
}
