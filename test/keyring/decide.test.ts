import test from 'ava';
import { decide } from '../../src/keyring/decide.ts';
import type { Refusal } from '../../src/keyring/refusals.ts';
import { type Answer, OK, refused, THROTTLED, UNAUTHENTICATED, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { attempt, GRACE, makeWorld, plain, SECOND, TTL } from './world.ts';

// The table of the keyring, cell by cell, met by an idle DEK through Encrypt and through Decrypt: [age] × [what the upstream says].
const AGES = { 'within ttl': TTL, 'in grace': TTL + GRACE, 'past grace': TTL + GRACE + 2 } as const;
type Age = keyof typeof AGES;

interface Cell {
  readonly says: string;
  readonly answer: Answer;
  /** `grace`, `fresh`, or the reason of the error. */
  readonly expected: Record<Age, string>;
}

const TABLE: readonly Cell[] = [
  { says: 'yes', answer: OK, expected: { 'within ttl': 'fresh', 'in grace': 'fresh', 'past grace': 'fresh' } },
  {
    says: 'nothing: unreachable',
    answer: UNREACHABLE,
    expected: { 'within ttl': 'fresh', 'in grace': 'grace', 'past grace': 'UPSTREAM_UNAVAILABLE' },
  },
  {
    says: 'nothing: throttled',
    answer: THROTTLED,
    expected: { 'within ttl': 'fresh', 'in grace': 'grace', 'past grace': 'UPSTREAM_THROTTLED' },
  },
  {
    says: 'nothing: unauthenticated',
    answer: UNAUTHENTICATED,
    expected: { 'within ttl': 'fresh', 'in grace': 'grace', 'past grace': 'UPSTREAM_UNAUTHENTICATED' },
  },
  {
    says: 'no',
    answer: refused('kek', 'disabled'),
    expected: { 'within ttl': 'fresh', 'in grace': 'KEY_DISABLED', 'past grace': 'KEY_DISABLED' },
  },
];

for (const { says, answer, expected } of TABLE) {
  for (const age of Object.keys(AGES) as Age[]) {
    test(`${age}, the upstream says ${says}: ${expected[age]}`, async (t) => {
      const world = makeWorld(t);
      const key = world.key();
      const { ciphertext, dek } = await key.seal();
      // Suspend moves the age without running timers: nothing was refreshed, purged or expired meanwhile.
      world.clock.suspend(AGES[age]);
      world.upstream.answer(answer);
      const calls: (() => unknown)[] = [() => key.encrypt(), () => key.decrypt(ciphertext)];
      for (const call of calls) {
        const outcome = await world.outcome(attempt(call) as Promise<{ grace: boolean }>);
        const found = 'error' in outcome ? outcome.error.reason : outcome.value.grace ? 'grace' : 'fresh';
        t.is(found, expected[age]);
        t.true(outcome.tookMs <= 4 * SECOND);
      }
      t.is(dek.place === 'gone', expected[age] === 'KEY_DISABLED');
    });
  }
}

test('within ttl a hit is synchronous whatever the upstream says', async (t) => {
  for (const { answer } of TABLE) {
    const world = makeWorld(t);
    const key = world.key();
    const { ciphertext } = await key.seal();
    world.upstream.answer(answer);
    world.clock.suspend(TTL - 1);
    t.false(plain(t, key.encrypt()).grace);
    t.is(plain(t, key.decrypt(ciphertext)).text, 'hello');
  }
});

test('a pending refusal lets its DEK serve one more ttl and never past grace', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { graceMs: 2 * TTL } });
  const { dek } = await key.seal();
  const at = (ageMs: number, seenAtAgeMs: number, state: Refusal['state']): string => {
    const firstSeenAtMs = dek.verifiedAtMs + seenAtAgeMs;
    return decide(dek, dek.verifiedAtMs + ageMs, { firstSeenAtMs, state } as Refusal);
  };
  t.is(at(TTL, 0, 'confirming'), 'serve');
  t.is(at(TTL, 0, 'pending'), 'serve');
  t.is(at(TTL + 1, 0.8 * TTL, 'confirming'), 'confirm');
  t.is(at(1.8 * TTL, 0.8 * TTL, 'pending'), 'grace');
  t.is(at(1.8 * TTL + 1, 0.8 * TTL, 'pending'), 'unavailable');
  t.is(at(3 * TTL, 2.5 * TTL, 'pending'), 'grace');
  t.is(at(3 * TTL + 1, 2.5 * TTL, 'pending'), 'unavailable');
});
