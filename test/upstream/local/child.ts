// What only another process can show; started by runChild. Prints one line of JSON.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { arenaStatus, createKey, freeKey, openArena } from '../../../src/crypto/native.ts';
import { changeRootKey } from '../../../src/upstream/local/change-root-key.ts';
import { checkKeystore } from '../../../src/upstream/local/check.ts';
import { openLocal } from '../../../src/upstream/local/open.ts';
import type { LocalOptions } from '../../../src/upstream/local/options.ts';
import { live, wrapContext } from '../../contract/upstream-context.ts';
import { MovableClock } from '../../helpers/movable-clock.ts';

const NOBODY = 65534;
const CONTEXT = wrapContext({ 'dekd:key': 'orders' });

const SCENES: Record<string, (options: LocalOptions) => Promise<unknown>> = {
  /** Opens and closes. */
  open: async (options) => {
    const upstream = await openLocal('store', options);
    await upstream.close();
    return 'opened';
  },
  /** Where 64 MiB more is all that the process may have. */
  'open with little memory': async (options) => {
    const dataKiB = Number(/^VmData:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
    const limit = (dataKiB + 65_536) * 1024;
    execFileSync('prlimit', ['--pid', String(process.pid), `--data=${limit}`]);
    return SCENES['open']?.(options);
  },
  /** Root passes over every permission: becomes a user who does not. */
  'open as nobody': async (options) => {
    becomeNobody();
    return SCENES['open']?.(options);
  },
  /** Under `ulimit -f`: writes fail, the rest goes on. */
  'create until the disk is full': async (options) => {
    const upstream = await openLocal('store', options);
    const labels = new Map(Array.from({ length: 64 }, (_, index) => [`label-${index}`, 'x'.repeat(256)]));
    const failure = await upstream.createKek('large', labels, 'uid 2001').catch((error: unknown) => error);
    const dek = createKey('dek');
    const kek = upstream.resolve('local:orders');
    freeKey(await upstream.unwrap(kek, await upstream.wrap(kek, dek, CONTEXT, live()), CONTEXT, live()));
    const { name, class: failureClass, message } = failure as { name: string; class: string; message: string };
    await upstream.close();
    return { name, class: failureClass, message };
  },
  'check as nobody': async ({ directory, rootKey }) => {
    becomeNobody();
    return checkKeystore(directory, rootKey).storeId;
  },
  /** Slots that the offline tools leave in use, whether they succeed or fail. */
  'tools leave slots': async ({ directory, rootKey }) => {
    const { slotsUsed } = arenaStatus();
    const [wrong, next] = ['wrong.key', 'next.key'].map((name) => ({ file: `${dirname(directory)}/${name}` }));
    const attempts = [
      () => checkKeystore(directory, rootKey),
      () => checkKeystore(directory, wrong!),
      () => changeRootKey(directory, wrong!, next!),
      () => changeRootKey(directory, rootKey, { file: '/nowhere' }),
      () => changeRootKey(directory, rootKey, rootKey),
      () => changeRootKey(directory, rootKey, next!),
      () => checkKeystore(directory, next!),
    ];
    const outcomes = attempts.map((attempt) => {
      try {
        attempt();
        return 'ok';
      } catch {
        return 'refused';
      }
    });
    return { outcomes, left: arenaStatus().slotsUsed - slotsUsed };
  },
  /** Slots in use after everything that takes some. */
  leaks: async (options) => {
    const before = arenaStatus().slotsUsed;
    const upstream = await openLocal('store', options);
    const dek = createKey('dek');
    const kek = upstream.resolve('local:orders');
    const wrapped = await upstream.wrap(kek, dek, CONTEXT, live());
    freeKey(await upstream.unwrap(kek, wrapped, CONTEXT, live()));
    await upstream.createKek('orders', new Map(), 'uid 2001').catch(() => undefined);
    await upstream.unwrap(kek, wrapped, wrapContext({}), live()).catch(() => undefined);
    await openLocal('store', options).catch(() => undefined);
    const open = arenaStatus().slotsUsed;
    await upstream.close();
    freeKey(dek);
    const wrongKey = { file: `${dirname(options.directory)}/wrong.key` };
    await openLocal('store', { ...options, rootKey: wrongKey }).catch(() => undefined);
    return { before, open, after: arenaStatus().slotsUsed };
  },
  /** Slots in use by 60 versions that were all used; then with no free slot for another KEK. */
  'many versions': async (options) => {
    const upstream = await openLocal('store', options);
    const { uri } = await upstream.createKek('orders', new Map(), 'uid 2001');
    const dek = createKey('dek');
    const wrapped = [await upstream.wrap(uri, dek, CONTEXT, live())];
    for (let version = 2; version <= 60; version++) {
      await upstream.rotateKek(uri, 'uid 2001');
      wrapped.push(await upstream.wrap(uri, dek, CONTEXT, live()));
    }
    for (const one of wrapped) freeKey(await upstream.unwrap(uri, one, CONTEXT, live()));
    const { slots, slotsUsed } = arenaStatus();
    for (let used = slotsUsed; used < slots; used++) createKey('raw');
    const carts = await upstream.createKek('carts', new Map(), 'uid 2001');
    await upstream.wrap(carts.uri, dek, CONTEXT, live());
    await upstream.wrap(uri, dek, CONTEXT, live());
    await upstream.close();
    return { slots, slotsUsed };
  },
  /** Slots in use before and after a KEK that was used is destroyed. */
  destroy: async (options) => {
    const clock = new MovableClock();
    const upstream = await openLocal('store', { ...options, clock });
    const { uri } = await upstream.createKek('orders', new Map(), 'uid 2001');
    const dek = createKey('dek');
    await upstream.wrap(uri, dek, CONTEXT, live());
    const request = { by: 'uid 2001', waitingPeriodMs: 7 * 86_400_000, custodians: 1 };
    await upstream.scheduleKekDeletion(uri, request);
    const before = arenaStatus().slotsUsed;
    await clock.advance(60_000);
    clock.suspend(request.waitingPeriodMs);
    await clock.advance(60_000);
    return { before, after: arenaStatus().slotsUsed };
  },
};

function becomeNobody(): void {
  if (process.getuid?.() !== 0) return;
  process.setgroups?.([NOBODY]);
  process.setgid?.(NOBODY);
  process.setuid?.(NOBODY);
}

const [scene = '', options = '{}'] = process.argv.slice(2);
openArena({ size: 1 << 16, lock: 'best-effort' });
const result = await SCENES[scene]?.(JSON.parse(options) as LocalOptions).catch((error: Error) => error.message);
process.stdout.write(`${JSON.stringify(result)}\n`);
