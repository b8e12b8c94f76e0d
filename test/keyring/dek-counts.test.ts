import test from 'ava';
import type { Clock } from '../../src/keyring/clock.ts';
import type { Dek } from '../../src/keyring/dek.ts';
import { DekCounter } from '../../src/keyring/dek-counts.ts';

function stubDek(more: Partial<Dek> = {}): Dek {
  const dek = { place: 'encrypting', partitionKey: 'a', loadedAtMs: 5_000, verifiedAtMs: 5_000 };
  return { ...dek, ...more } as Dek;
}

/** A keyring's DEKs with a clock that `countMs` passes in at each count. */
function counter(deks: readonly Dek[], countMs = 0) {
  const state = { nowMs: 10_000, passes: 0 };
  const held = function* () {
    state.passes++;
    yield* deks;
    state.nowMs += countMs;
  };
  const clock = { bootMs: () => state.nowMs, wallMs: () => state.nowMs + 1_000_000 };
  const made = new DekCounter(held, clock as Clock);
  return { state, counts: () => made.counts(deks.length) };
}

test('what is held, by place and age', (t) => {
  const deks = [
    stubDek(),
    stubDek({ place: 'decrypting', loadedAtMs: 1, verifiedAtMs: -300_000 }),
    stubDek({ partitionKey: 'b', loadedAtMs: 3_000 }),
  ];
  t.deepEqual(counter(deks).counts(), {
    asOfMs: 1_010_000,
    partitions: 2,
    encrypting: 2,
    decrypting: 1,
    oldestLoadedAtMs: 3_000,
    oldestVerifiedAtMs: -300_000,
  });
  t.like(counter([]).counts(), { partitions: 0, oldestLoadedAtMs: undefined, oldestVerifiedAtMs: undefined });
  t.like(counter([deks[1]!]).counts(), { oldestLoadedAtMs: undefined, oldestVerifiedAtMs: -300_000 });
});

test('few DEKs are counted each time', (t) => {
  const { state, counts } = counter(Array<Dek>(100).fill(stubDek()));
  counts();
  counts();
  t.is(state.passes, 2);
});

test('many are counted once a second, and a count that takes longer is kept a hundred times as long', (t) => {
  for (const [countMs, keptMs] of [
    [0, 1_000],
    [40, 4_000],
  ] as const) {
    const { state, counts } = counter(Array<Dek>(101).fill(stubDek()), countMs);
    const first = counts();
    state.nowMs += keptMs - 1;
    t.is(counts(), first);
    t.is(state.passes, 1);
    state.nowMs += 1;
    t.true(counts().asOfMs > first.asOfMs);
    t.is(state.passes, 2);
  }
});
