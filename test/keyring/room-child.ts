// Fills the arena, so it runs in a process with one of its own. `node room-child.ts SCENE`; prints what the scene returns as JSON.
import { writeSync } from 'node:fs';
import { arenaStatus, createKey, freeKey, openArena, type SlotHandle } from '../../src/crypto/native.ts';
import { type Answer, HANG, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import {
  attempt,
  type KeySetup,
  type Opened,
  type Outcome,
  type Sealed,
  type TestKey,
  TTL,
  uriOf,
  World,
} from './world.ts';

const SLOW: Answer = { kind: 'ok', afterMs: 500 };
const world = new World();
const GREEDY: KeySetup = { name: 'greedy', partitionBy: ['tenant'] };
const greedy = world.key(GREEDY);
const free = (): number => arenaStatus().slots - arenaStatus().slotsUsed;

/** How calls end, each way once. */
async function endings(calls: readonly (() => Sealed | Opened | Promise<Sealed | Opened>)[]): Promise<string[]> {
  const outcomes = await Promise.all(calls.map((call) => world.outcome(attempt(call))));
  return [...new Set(outcomes.map(ending))].sort();
}

function ending(outcome: Outcome<Sealed | Opened>): string {
  if ('error' in outcome) return outcome.error.reason;
  return outcome.value.grace ? 'grace' : 'served';
}

/** First Encrypts of as many partitions as fit, and the reason why no more do. */
async function fill(key: TestKey): Promise<{ tenants: string[]; end: string }> {
  const tenants: string[] = [];
  for (;;) {
    const tenant = `t${tenants.length}`;
    const end = await world.reason(() => key.encrypt({ tenant }));
    if (end !== 'none') return { tenants, end };
    tenants.push(tenant);
  }
}

/** Messages of another agent, each with a DEK of its own; few slots are taken for them at a time. */
async function messages(
  count: number,
  setup: KeySetup = GREEDY,
): Promise<{ ciphertext: Buffer; pairs: { tenant: string } }[]> {
  const writer = world.peer({ ...setup, cache: { maxPartitions: 1 } });
  const all = [];
  for (let at = 0; at < count; at++) {
    const pairs = { tenant: `m${at}` };
    all.push({ ciphertext: (await writer.seal(pairs)).ciphertext, pairs });
  }
  writer.world.keyrings.close();
  return all;
}

const scenes: Record<string, () => Promise<unknown>> = {
  /** Who fills the arena is who gets no more; its own DEKs that only decrypt make way first. */
  greedy: async () => {
    const { tenants, end } = await fill(greedy);
    const held = greedy.ring.encrypting.size;
    const before = { allHeld: held === tenants.length, evicted: greedy.ring.counters.evicted, spare: free() };
    await world.value(greedy.ring.encrypting.replace(greedy.held[0]!));
    const decrypting = greedy.ring.decrypting.size;
    const again = await world.reason(() => greedy.encrypt({ tenant: 'one more' }));
    return {
      ...before,
      end,
      again,
      decrypting: [decrypting, greedy.ring.decrypting.size],
      stillHeld: greedy.ring.encrypting.size === held,
    };
  },
  /** Everything held goes on when all of it is past ttl at once: refreshes take turns. */
  refreshes: async () => {
    const victim = world.key({ name: 'victim' });
    await victim.seal();
    const { tenants } = await fill(greedy);
    world.upstream.answer({ kind: 'ok', afterMs: 10 });
    const everybody = [() => victim.encrypt(), ...tenants.map((tenant) => () => greedy.encrypt({ tenant }))];
    world.clock.suspend(2 * TTL);
    const all = await endings(everybody);
    // What else works in the arena has left a single slot.
    const others: SlotHandle[] = [];
    while (free() > 1) others.push(createKey('raw'));
    world.clock.suspend(2 * TTL);
    const throughOneSlot = await endings(everybody);
    for (const handle of others) freeKey(handle);
    const failures = victim.ring.counters.refresh_failures + greedy.ring.counters.refresh_failures;
    return { all, throughOneSlot, failures, evicted: greedy.ring.counters.evicted };
  },
  /** Ciphertexts with unknown DEKs at an upstream that hangs leave slots for refreshes. */
  flood: async () => {
    const setup: KeySetup = {
      name: 'flooded',
      partitionBy: ['tenant'],
      recipients: [
        ['hangs', 'authority'],
        ['too', 'authority'],
      ],
    };
    const all = await messages(20, setup);
    const flooded = world.key(setup);
    const victim = world.key({ name: 'victim' });
    await victim.seal();
    await fill(greedy);
    world.upstream.script({ kek: uriOf('hangs'), answer: HANG }, { kek: uriOf('too'), answer: HANG });
    world.clock.suspend(2 * TTL);
    const flood = endings(
      all.map(
        ({ ciphertext, pairs }) =>
          () =>
            flooded.decrypt(ciphertext, pairs),
      ),
    );
    const held = await endings([() => victim.encrypt()]);
    return { held, flood: await flood, failures: victim.ring.counters.refresh_failures };
  },
  /** A full arena does not keep old DEKs in use: each can be replaced. */
  rotate: async () => {
    const { tenants } = await fill(greedy);
    const before = greedy.held;
    const rotated = await world.value(greedy.ring.rotate());
    const encrypting = [...greedy.ring.encrypting.all()];
    return {
      rotated: rotated === tenants.length,
      held: encrypting.length === tenants.length,
      old: encrypting.filter((dek) => before.includes(dek)).length,
    };
  },
  /** Many first Encrypts at once take from the key that has most only what makes them even. */
  fair: async () => {
    const other = world.key({ name: 'other', partitionBy: ['tenant'] });
    const { tenants } = await fill(other);
    world.upstream.answer(SLOW);
    const wanted = tenants.map((tenant) => () => greedy.encrypt({ tenant }));
    const all = await endings(wanted);
    return { all, difference: Math.abs(other.ring.encrypting.size - greedy.ring.encrypting.size) };
  },
  /** Without a cache as many DEKs are under way at once as with one; the count goes back after answers and after failures. */
  uncached: async () => {
    const all: Record<string, string[]> = {};
    for (const mode of ['none', 'request'] as const) {
      const key = world.key({ name: mode, cache: { mode } });
      const { ciphertext } = await key.seal();
      const before = free();
      for (const [what, call] of [
        ['made', () => key.encrypt()],
        ['unwrapped', () => key.decrypt(ciphertext)],
      ] as const) {
        const ends = [];
        for (const answer of [SLOW, { ...UNREACHABLE, afterMs: 500 }, SLOW]) {
          world.upstream.answer(answer);
          const most = endings(Array.from({ length: 1_000 }, () => call));
          ends.push(await world.reason(call), ...(await most));
        }
        all[`${mode} ${what}`] = [...ends, `${before - free()} slots`];
        world.upstream.answer({ kind: 'ok' });
      }
    }
    return all;
  },
  /** Nothing that is held goes while its upstream is out, whoever asks for more. */
  outage: async () => {
    const all = await messages(60);
    const fresh = world.key({ name: 'fresh', partitionBy: ['tenant'] });
    const used = await greedy.seal({ tenant: 'used' });
    for (const { ciphertext, pairs } of all) await world.value(greedy.decrypt(ciphertext, pairs));
    world.upstream.answer(UNREACHABLE);
    world.clock.suspend(2 * TTL);
    await world.value(greedy.encrypt({ tenant: 'used' }));
    const held = greedy.held.length;
    for (let round = 0; round < 3; round++) {
      await endings(all.map((_, at) => () => fresh.encrypt({ tenant: `n${at}` })));
      await endings(
        all.map(
          ({ ciphertext, pairs }) =>
            () =>
              greedy.decrypt(ciphertext, pairs),
        ),
      );
      await world.clock.advance(10_000);
    }
    const ends = await endings([() => greedy.encrypt({ tenant: 'used' })]);
    return { spare: free(), lost: held - greedy.held.length, ends, place: used.dek.place };
  },
};

const scene = process.argv[2]!;
openArena({ size: scene === 'uncached' ? 1 << 20 : 3 * 4_096, lock: 'best-effort', maxSealed: 0 });
writeSync(1, JSON.stringify(await scenes[scene]!()));
