import { spawnSync } from 'node:child_process';
import test from 'ava';
import type { Dek } from '../../src/keyring/dek.ts';
import { DekLoads } from '../../src/keyring/dek-loads.ts';
import { refused } from '../fakes/scripted-upstream.ts';
import { MovableClock, settled } from '../helpers/movable-clock.ts';
import { makeWorld, SECOND } from './world.ts';

/** Loads of DEKs that only tell what became of them. */
function setUp(): { clock: MovableClock; loads: DekLoads; told: string[]; start: () => Promise<Dek> } {
  const clock = new MovableClock();
  const told: string[] = [];
  const loads = new DekLoads(clock, () => told.push('cached'));
  const dek = { free: () => told.push('freed') } as unknown as Dek;
  return { clock, loads, told, start: async () => dek };
}

test('a payload that does not open keeps no DEK past 5 s, so that a refusal since then is met', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const { ciphertext } = await writer.seal();
  writer.world.keyrings.close();
  const key = world.key();
  const own = await key.seal();
  const broken = Buffer.from(ciphertext);
  broken[broken.length - 1]! ^= 1;
  t.is(await world.reason(() => key.decrypt(broken)), 'INVALID_CIPHERTEXT');
  world.upstream.answer(refused('kek', 'disabled'));
  const answers: string[] = [];
  for (let second = 0; second < 12; second += 2) {
    await world.clock.advance(2 * SECOND);
    answers.push(await world.reason(() => key.decrypt(broken)));
  }
  t.deepEqual(answers, ['INVALID_CIPHERTEXT', 'INVALID_CIPHERTEXT', ...Array(4).fill('KEY_DISABLED')]);
  t.is(own.dek.place, 'gone', 'the refusal is confirmed');
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'KEY_DISABLED');
});

test('1,000 DEKs that nobody could use do not make another’s miss QUOTA_EXCEEDED', (t) => {
  // Of so many DEKs none may make way for the other tests' that share this process's arena.
  const run = spawnSync(process.execPath, [new URL('lingering-child.ts', import.meta.url).pathname], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  t.is(run.stderr, '');
  t.deepEqual(JSON.parse(run.stdout), { lingering: 1_000, reason: 'none', calls: 1, slots: 0 });
});

test('a load is joined until 5 s after it has its DEK, however often', async (t) => {
  const { clock, loads, told, start } = setUp();
  const first = loads.join('x', start);
  await settled();
  loads.leave(first);
  for (let second = 0; second < 4; second++) {
    await clock.advance(SECOND);
    const again = loads.join('x', start);
    t.is(again, first);
    loads.leave(again);
  }
  t.deepEqual(told, []);
  await clock.advance(SECOND);
  t.deepEqual([told, loads.has('x'), clock.timers], [['freed'], false, 0]);
});

test('whoever waits when its time is over has it still; a newer load of that name is another', async (t) => {
  for (const proven of [true, false]) {
    const { clock, loads, told, start } = setUp();
    const load = loads.join('x', start);
    await clock.advance(5 * SECOND);
    t.deepEqual([told, loads.has('x')], [[], false]);
    const newer = loads.join('x', start);
    t.not(newer, load);
    load.proven = proven;
    loads.leave(load);
    t.deepEqual(told, [proven ? 'cached' : 'freed']);
    t.true(loads.has('x'), 'the newer one is under way');
  }
});

test('evict zeroes the one that lingers longest, never one that is waited for', async (t) => {
  const { loads, told, start } = setUp();
  const waitedFor = loads.join('waited for', start);
  loads.leave(loads.join('left', start));
  t.false(loads.evict(), 'nothing is loaded yet');
  await settled();
  t.true(loads.evict());
  t.deepEqual([told, loads.has('waited for'), loads.has('left')], [['freed'], true, false]);
  t.false(loads.evict());
  waitedFor.proven = true;
  loads.leave(waitedFor);
  t.deepEqual(told, ['freed', 'cached']);
});
