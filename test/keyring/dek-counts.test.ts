import test from 'ava';
import type { Clock } from '../../src/keyring/clock.ts';
import type { Dek } from '../../src/keyring/dek.ts';
import { DekCounter } from '../../src/keyring/dek-counts.ts';
import type { CacheOptions } from '../../src/keyring/options.ts';
import type { Refusal } from '../../src/keyring/refusals.ts';

const TTL = 60_000;
const GRACE = 600_000;
const CACHE = { mode: 'session', ttlMs: TTL, graceMs: GRACE, rotateAfterMs: 86_400_000, maxMessages: 9, maxBytes: 9 };

/** A fresh one, whose upstream gives no answer. */
function stubDek(more: Partial<Dek> = {}, cache: Partial<CacheOptions> = {}): Dek {
  const dek = { place: 'encrypting', partitionKey: 'a', loadedAtMs: 5_000, verifiedAtMs: 5_000, messages: 0, bytes: 0 };
  return { ...dek, options: { cache: { ...CACHE, ...cache } }, unanswered: () => true, ...more } as Dek;
}

interface Setup {
  /** How long a count takes. */
  readonly countMs?: number;
  /** The unsettled refusal of each DEK in `refused`. */
  readonly refused?: Dek;
  readonly refusal?: Partial<Refusal>;
}

/** A keyring's DEKs with a clock that `countMs` passes in at each count. */
function counter(deks: readonly Dek[], { countMs = 0, refused, refusal }: Setup = {}) {
  const state = { nowMs: 10_000, passes: 0 };
  const held = function* () {
    state.passes++;
    yield* deks;
    state.nowMs += countMs;
  };
  const clock = { bootMs: () => state.nowMs, wallMs: () => state.nowMs + 1_000_000 } as Clock;
  const refusals = { covering: (dek: Dek) => (dek === refused ? (refusal as Refusal) : undefined) };
  const made = new DekCounter(held, { clock, refusals });
  return { state, counts: () => made.counts(deks.length) };
}

test('what is held, by place and age', (t) => {
  const deks = [
    stubDek(),
    stubDek({ place: 'decrypting', loadedAtMs: 1, verifiedAtMs: -30_000 }),
    stubDek({ partitionKey: 'b', loadedAtMs: 3_000 }),
  ];
  t.deepEqual(counter(deks).counts(), {
    asOfMs: 1_010_000,
    partitions: 2,
    encrypting: 2,
    decrypting: 1,
    inGrace: 0,
    rotationsOverdue: 0,
    refusalsPending: 0,
    oldestLoadedAtMs: 3_000,
    oldestVerifiedAtMs: -30_000,
    graceEndsAtMs: undefined,
    servesUntilMs: -30_000 + TTL + GRACE,
    lastServesUntilMs: 5_000 + TTL + GRACE,
  });
  t.like(counter([]).counts(), { partitions: 0, oldestLoadedAtMs: undefined, servesUntilMs: undefined });
  t.like(counter([deks[1]!]).counts(), { oldestLoadedAtMs: undefined, oldestVerifiedAtMs: -30_000 });
});

test('in an outage: those in grace, until when the first of them serves, and what is overdue', (t) => {
  const late = stubDek({ verifiedAtMs: 9_999 - TTL, place: 'decrypting' });
  const later = stubDek({ verifiedAtMs: 9_000 - TTL });
  const idle = stubDek({ verifiedAtMs: -TTL, unanswered: () => false });
  const full = stubDek({ messages: 9 });
  t.like(counter([late, later, idle, full]).counts(), {
    inGrace: 2,
    rotationsOverdue: 1,
    graceEndsAtMs: 9_000 + GRACE,
    servesUntilMs: GRACE,
    lastServesUntilMs: 5_000 + TTL + GRACE,
  });
  const endless = stubDek({ verifiedAtMs: 9_000 - TTL }, { mode: 'startup' });
  t.like(counter([endless]).counts(), {
    inGrace: 1,
    graceEndsAtMs: Number.POSITIVE_INFINITY,
    servesUntilMs: Number.POSITIVE_INFINITY,
    lastServesUntilMs: Number.POSITIVE_INFINITY,
  });
});

test('a refusal that nobody confirms leaves one ttl, and never less than what was vouched for', (t) => {
  const refused = stubDek({ verifiedAtMs: 9_000 - TTL });
  const pending = { state: 'pending', firstSeenAtMs: 9_500 } as const;
  const counts = counter([refused], { refused, refusal: pending }).counts();
  t.like(counts, { refusalsPending: 1, inGrace: 1, graceEndsAtMs: 9_500 + TTL, servesUntilMs: 9_500 + TTL });
  const fresh = stubDek({ verifiedAtMs: 9_900 });
  t.like(counter([fresh], { refused: fresh, refusal: pending }).counts(), { inGrace: 0, servesUntilMs: 9_900 + TTL });
  // One that would not serve so long anyway does not serve longer.
  const short = stubDek({ verifiedAtMs: 9_000 - TTL }, { graceMs: 2_000 });
  t.like(counter([short], { refused: short, refusal: pending }).counts(), { servesUntilMs: 11_000 });
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
    const { state, counts } = counter(Array<Dek>(101).fill(stubDek()), { countMs });
    const first = counts();
    state.nowMs += keptMs - 1;
    t.is(counts(), first);
    t.is(state.passes, 1);
    state.nowMs += 1;
    t.true(counts().asOfMs > first.asOfMs);
    t.is(state.passes, 2);
  }
});
