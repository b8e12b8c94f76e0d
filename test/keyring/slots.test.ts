import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';

/** A scene of slots-child.ts, in a process whose arena nobody else uses. */
function play(scene: string): unknown {
  const child = join(import.meta.dirname, 'slots-child.ts');
  const run = spawnSync(process.execPath, [child, scene], { encoding: 'utf8', timeout: 30_000 });
  if (run.status !== 0) throw new Error(`scene ${scene} ended with ${run.status ?? run.signal}: ${run.stderr}`);
  return JSON.parse(run.stdout);
}

test.serial('eviction frees the slot of the DEK that was used longest ago; its handle is stale', (t) => {
  t.deepEqual(play('eviction'), {
    slots: 4,
    gone: [false, true, true, false],
    stale: [false, true, true, false],
    evicted: 2,
    index: 4,
  });
});

test.serial('a DEK past grace is zeroed', (t) => {
  t.deepEqual(play('expiry'), { held: 2, slots: 1, stale: true, expired: 1 });
});

test.serial('a purge zeroes', (t) => {
  t.deepEqual(play('purge'), { held: 4, slots: 1, stale: [true, true, true], purged: 3 });
});

test.serial('close zeroes what is held, what lingers, and what is made or loaded after it', (t) => {
  t.deepEqual(play('close'), {
    held: 3,
    atClose: 1,
    slots: 0,
    stale: true,
    making: 'CANCELLED',
    loading: 'none',
    index: 0,
  });
});

test.serial('no failure of a wrap or an unwrap leaks a slot', (t) => {
  const { slots, reasons } = play('failures') as { slots: number; reasons: string[] };
  t.is(slots, 0);
  t.true(reasons.includes('UPSTREAM_FAULT') && reasons.includes('UPSTREAM_REFUSED'));
  t.true(reasons.includes('UPSTREAM_UNAVAILABLE'));
});

test.serial('a full arena: concurrent misses make room, DEKs that encrypt stay, no outage is seen', (t) => {
  t.deepEqual(play('room'), {
    outcomes: ['none'],
    fits: true,
    encrypting: 'encrypting',
    evicted: true,
    health: 'ok',
  });
});

test.serial('nothing to evict: SECRET_MEMORY_EXHAUSTED, never an outage; what is held serves within ttl', (t) => {
  t.deepEqual(play('exhausted'), {
    reasons: ['SECRET_MEMORY_EXHAUSTED', 'SECRET_MEMORY_EXHAUSTED', 'none', 'SECRET_MEMORY_EXHAUSTED', 'none'],
    health: 'ok',
    events: [],
  });
});

test.serial('decrypt misses never push out a DEK that encrypts', (t) => {
  t.deepEqual(play('separate'), { place: 'encrypting', sizes: [1, 2] });
});

test.serial('one key’s partitions stop neither another key’s first DEK nor a refresh', (t) => {
  t.deepEqual(play('share'), { first: 'none', grace: false, asked: 1, modest: 1, evicted: true, fits: true });
});

test.serial(
  'a key in an outage that fills the arena keeps its DEKs from others’ misses, and stops no new partition',
  (t) => {
    t.deepEqual(play('outage'), { isFull: true, first: ['none'], lostToFirst: 2, read: ['none'], lostToReads: 0 });
  },
);

test.serial(
  'a flush zeroes what is held and lingers; what was under way is had afresh, and nothing stays behind',
  (t) => {
    t.deepEqual(play('flush'), {
      held: 2,
      flushed: [1, 0],
      // The two that are being made.
      atFlush: 2,
      reasons: ['none', 'none', 'none'],
      cached: 2,
      slots: 2,
    });
  },
);

test.serial('a load that flushes keep from ending leaves nothing behind', (t) => {
  t.deepEqual(play('flushes'), { reason: 'UPSTREAM_UNAVAILABLE', slots: 0 });
});

test.serial('rewraps leave nothing behind, whatever the recipients answer', (t) => {
  t.deepEqual(play('rewrap'), {
    reasons: ['UPSTREAM_FAULT', 'UPSTREAM_UNAVAILABLE', 'UPSTREAM_UNAVAILABLE', 'UPSTREAM_REFUSED', 'none'],
    slots: 0,
    cached: 1,
  });
});
