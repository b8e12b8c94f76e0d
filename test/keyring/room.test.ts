import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';

/** A scene of room-child.ts, in a process whose arena nobody else fills. */
function play(scene: string): unknown {
  const child = join(import.meta.dirname, 'room-child.ts');
  const run = spawnSync(process.execPath, [child, scene], { encoding: 'utf8', timeout: 30_000 });
  if (run.status !== 0) throw new Error(`scene ${scene} ended with ${run.status ?? run.signal}: ${run.stderr}`);
  return JSON.parse(run.stdout);
}

test.serial('the key that fills the arena gets no more and loses nothing but DEKs that only decrypt', (t) => {
  t.deepEqual(play('greedy'), {
    allHeld: true,
    evicted: 0,
    spare: 9,
    end: 'SECRET_MEMORY_EXHAUSTED',
    again: 'SECRET_MEMORY_EXHAUSTED',
    decrypting: [1, 0],
    stillHeld: true,
  });
});

test.serial('a full arena, everything past ttl at once: refreshes take turns, and all is served fresh', (t) => {
  t.deepEqual(play('refreshes'), { all: ['served'], throughOneSlot: ['served'], failures: 0, evicted: 0 });
});

test.serial('a full arena, many unknown DEKs at an upstream that hangs: a refresh finds its slot', (t) => {
  t.deepEqual(play('flood'), {
    held: ['served'],
    flood: ['SECRET_MEMORY_EXHAUSTED', 'UPSTREAM_UNAVAILABLE'],
    failures: 0,
  });
});

test.serial('a full arena: rotation replaces every DEK', (t) => {
  t.deepEqual(play('rotate'), { rotated: true, held: true, old: 0 });
});

test.serial('a full arena: another key’s many first Encrypts at once take half of it, no more', (t) => {
  const { all, difference } = play('fair') as { all: string[]; difference: number };
  t.deepEqual(all, ['SECRET_MEMORY_EXHAUSTED', 'served']);
  t.true(difference <= 2, `${difference} DEKs apart`);
});

test.serial('a full arena in an outage: nothing held is lost to misses that can’t succeed', (t) => {
  t.deepEqual(play('outage'), { spare: 8, lost: 0, ends: ['grace'], place: 'encrypting' });
});

test.serial(
  'modes none and request: 1,000 DEKs made and 1,000 unwrapped at once are the most, and others follow them',
  (t) => {
    const ends = [
      'QUOTA_EXCEEDED',
      'served',
      'QUOTA_EXCEEDED',
      'UPSTREAM_UNAVAILABLE',
      'QUOTA_EXCEEDED',
      'served',
      '0 slots',
    ];
    t.deepEqual(play('uncached'), {
      'none made': ends,
      'none unwrapped': ends,
      'request made': ends,
      'request unwrapped': ends,
    });
  },
);
