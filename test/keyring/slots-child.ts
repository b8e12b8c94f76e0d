// Counts slots, so it runs in a process with an arena of its own. `node slots-child.ts SCENE`; prints what the scene returns as JSON.
import { writeSync } from 'node:fs';
import { parseEnvelope } from '../../src/crypto/envelope.ts';
import { arenaStatus, createKey, freeKey, openArena, type SlotHandle, seal } from '../../src/crypto/native.ts';
import type { Dek } from '../../src/keyring/dek.ts';
import { HANG, OK, OTHER_KEY, refused, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { type KeySetup, MINUTE, SECOND, type TestKey, TTL, uriOf, World, waiterOf } from './world.ts';

const PAGE = 4_096;
const world = new World();
const used = (): number => arenaStatus().slotsUsed;

function isStale(dek: Dek): boolean {
  try {
    seal(dek.handle, 1, 1, Buffer.alloc(0), 0, Buffer.alloc(1), Buffer.alloc(64), 0);
    return false;
  } catch (error) {
    return (error as { code?: string }).code === 'ERR_STALE_HANDLE';
  }
}

async function messages(
  count: number,
  setup: KeySetup = {},
): Promise<{ ciphertext: Buffer; pairs: { tenant: string } }[]> {
  const writer = world.peer({ ...setup, partitionBy: ['tenant'], cache: { maxPartitions: 1 } });
  const all = [];
  for (let at = 0; at < count; at++) {
    const pairs = { tenant: `t${at}` };
    all.push({ ciphertext: (await writer.seal(pairs)).ciphertext, pairs });
  }
  writer.world.keyrings.close();
  return all;
}

async function readAll(key: TestKey, all: Awaited<ReturnType<typeof messages>>): Promise<Dek[]> {
  const deks = [];
  for (const { ciphertext, pairs } of all) deks.push((await world.value(key.decrypt(ciphertext, pairs))).dek);
  return deks;
}

const scenes: Record<string, () => Promise<unknown>> = {
  /** LRU: the DEK that was used longest ago goes. */
  eviction: async () => {
    const all = await messages(6);
    const before = used();
    const key = world.key({ cache: { maxDeks: 4 } });
    const deks = await readAll(key, all.slice(0, 4));
    await world.clock.advance(6 * SECOND);
    await world.value(key.decrypt(all[0]!.ciphertext, all[0]!.pairs));
    await readAll(key, all.slice(4));
    return {
      slots: used() - before,
      gone: deks.map((dek) => dek.place === 'gone'),
      stale: deks.map(isStale),
      evicted: key.ring.counters.evicted,
      index: [...world.keyrings.all()].length,
    };
  },
  expiry: async () => {
    const before = used();
    const key = world.key({ cache: { graceMs: MINUTE } });
    const { dek } = await key.seal();
    const held = used() - before;
    await world.clock.advance(TTL + MINUTE + 5 * SECOND);
    return { held, slots: used() - before, stale: isStale(dek), expired: key.ring.counters.expired };
  },
  purge: async () => {
    const before = used();
    const key = world.key({ partitionBy: ['tenant'] });
    const deks = [];
    for (const tenant of ['a', 'b', 'c']) deks.push((await key.seal({ tenant })).dek);
    await world.value(key.encrypt({ tenant: 'a' }));
    const held = used() - before;
    world.upstream.script({ operation: 'unwrap', answer: refused('kek') });
    await world.clock.advance(TTL);
    return { held, slots: used() - before, stale: deks.map(isStale), purged: key.ring.counters.purged };
  },
  /** Close with DEKs held, being made, being loaded and lingering. */
  close: async () => {
    const all = await messages(3);
    const before = used();
    const key = world.key({ partitionBy: ['tenant'] });
    const { dek } = await key.seal({ tenant: 'held' });
    const broken = Buffer.from(all[0]!.ciphertext);
    broken[broken.length - 1]! ^= 1;
    await world.reason(() => key.decrypt(broken, all[0]!.pairs));
    world.upstream.answer({ kind: 'ok', afterMs: 500 });
    const loading = world.reason(() => key.decrypt(all[1]!.ciphertext, all[1]!.pairs));
    const making = world.reason(() => key.encrypt({ tenant: 'new' }));
    const held = used() - before;
    world.keyrings.close();
    const atClose = used() - before;
    await world.clock.advance(5 * SECOND);
    return {
      held,
      atClose,
      slots: used() - before,
      stale: isStale(dek),
      making: await making,
      loading: await loading,
      index: [...world.keyrings.all()].length,
    };
  },
  /** Flushes with DEKs held, being made, being loaded, lingering, and loaded for one use. */
  flush: async () => {
    const all = await messages(3);
    const before = used();
    const key = world.key({ partitionBy: ['tenant'] });
    const once = world.key({ name: 'once', cache: { mode: 'none' } });
    await key.seal({ tenant: 'held' });
    const broken = Buffer.from(all[0]!.ciphertext);
    broken[broken.length - 1]! ^= 1;
    await world.reason(() => key.decrypt(broken, all[0]!.pairs));
    const held = used() - before;
    world.upstream.answer({ kind: 'ok', afterMs: 500 });
    const waiting = [
      world.reason(() => key.decrypt(all[1]!.ciphertext, all[1]!.pairs)),
      world.reason(() => key.encrypt({ tenant: 'new' })),
      world.reason(() => once.encrypt()),
    ];
    const flushed = [key.ring.flush(), once.ring.flush()];
    const atFlush = used() - before;
    const reasons = await Promise.all(waiting);
    await world.clock.advance(5 * SECOND);
    return { held, flushed, atFlush, reasons, cached: key.held.length, slots: used() - before };
  },
  /** What never gets done because of flushes leaves nothing behind. */
  flushes: async () => {
    const all = await messages(1);
    const before = used();
    const key = world.key({ partitionBy: ['tenant'] });
    world.upstream.answer({ kind: 'ok', afterMs: 500 });
    const opening = world.outcome(key.decrypt(all[0]!.ciphertext, all[0]!.pairs));
    for (let round = 0; round < 6; round++) {
      await world.clock.advance(400);
      key.ring.flush();
    }
    const outcome = await opening;
    await world.clock.advance(5 * SECOND);
    return { reason: 'error' in outcome ? outcome.error.reason : 'none', slots: used() - before };
  },
  /** Rewraps, good and bad, leave neither DEK nor copies behind. */
  rewrap: async () => {
    const all = await messages(1);
    const key = world.key({
      partitionBy: ['tenant'],
      recipients: [
        ['main', 'authority'],
        ['spare', 'standby'],
      ],
    });
    await world.value(key.ring.warm(new Map([['tenant', 'makes the KEKs']])));
    const before = used();
    const { envelope } = world.keyrings.locate(parseEnvelope(all[0]!.ciphertext));
    const rewrap = () => key.ring.rewrapper.rewrap(envelope, waiterOf());
    const reasons = [];
    const failures = [
      ['unwrap', OTHER_KEY],
      ['unwrap', UNREACHABLE],
      ['wrap', HANG],
      ['wrap', refused('kek')],
    ] as const;
    for (const [operation, answer] of failures) {
      world.upstream.script({ operation, kek: 'local:0123456789abcdef/spare', answer });
      reasons.push(await world.reason(rewrap));
      await world.clock.advance(6 * SECOND);
      world.upstream.answer(OK);
    }
    reasons.push(await world.reason(rewrap));
    return { reasons, slots: used() - before, cached: key.held.length };
  },
  /** Every way in which a miss or a creation can fail. */
  failures: async () => {
    const all = await messages(1);
    const before = used();
    const reasons: string[] = [];
    const key = world.key({
      partitionBy: ['tenant'],
      recipients: [
        ['main', 'authority'],
        ['spare', 'standby'],
      ],
    });
    await key.seal({ tenant: 'warm-up makes the KEKs of the test' });
    const kept = used();
    const answers = [UNREACHABLE, HANG, OTHER_KEY, refused('kek'), { kind: 'ok', afterMs: 2_000, late: true } as const];
    for (const answer of answers) {
      for (const operation of ['wrap', 'unwrap'] as const) {
        world.upstream.answer(OK);
        world.upstream.script({ operation, answer });
        reasons.push(await world.reason(() => key.encrypt({ tenant: 'new' })));
        reasons.push(await world.reason(() => key.decrypt(all[0]!.ciphertext, all[0]!.pairs)));
        for (const dek of key.held.filter(
          ({ partition }) => partition.get('tenant') !== 'warm-up makes the KEKs of the test',
        )) {
          key.ring.remove(dek);
        }
        await world.clock.advance(61 * SECOND);
      }
    }
    world.upstream.answer(OK);
    await world.clock.advance(10 * SECOND);
    for (const dek of key.held) key.ring.remove(dek);
    return { slots: used() - kept + 1, grown: used() - before, reasons: [...new Set(reasons)].sort() };
  },
  /** Concurrent misses in a full arena make room for each other; DEKs that encrypt stay. */
  room: async () => {
    const all = await messages(60);
    const key = world.key({ partitionBy: ['tenant'], cache: { maxDeks: 10_000 } });
    const { dek } = await key.seal({ tenant: 'encrypts' });
    world.upstream.answer({ kind: 'ok', afterMs: 100 });
    const outcomes: string[] = [];
    for (let from = 0; from < 60; from += 10) {
      const some = all
        .slice(from, from + 10)
        .map(({ ciphertext, pairs }) => world.reason(() => key.decrypt(ciphertext, pairs)));
      outcomes.push(...(await Promise.all(some)));
    }
    const { slots, slotsUsed } = arenaStatus();
    return {
      outcomes: [...new Set(outcomes)],
      fits: slotsUsed <= slots,
      encrypting: dek.place,
      evicted: key.ring.counters.evicted > 0,
      health: world.kek('main').health.state,
    };
  },
  /** A key that fills the arena with partitions stops neither another key's first DEK nor the refresh of what is held. */
  share: async () => {
    const greedy = world.key({ name: 'greedy', partitionBy: ['tenant'] });
    const modest = world.key({ name: 'modest' });
    for (let at = 0; at < 60; at++) await world.reason(() => greedy.encrypt({ tenant: `t${at}` }));
    const first = await world.reason(() => modest.encrypt());
    const calls = world.upstream.count();
    world.clock.suspend(2 * TTL);
    const refreshed = await world.value(modest.encrypt());
    return {
      first,
      grace: refreshed.grace,
      asked: world.upstream.count() - calls,
      modest: modest.ring.encrypting.size,
      evicted: greedy.ring.counters.evicted > 0,
      fits: arenaStatus().slotsUsed <= arenaStatus().slots,
    };
  },
  /** A key whose upstream is out fills the arena: another key's misses push none of its DEKs out, its new partitions few. */
  outage: async () => {
    const setup = { name: 'other', recipients: [['other', 'authority']] } satisfies KeySetup;
    const all = await messages(60);
    const others = await messages(30, setup);
    const key = world.key({ partitionBy: ['tenant'] });
    const other = world.key({ ...setup, partitionBy: ['tenant'] });
    await readAll(key, all);
    world.upstream.answer(UNREACHABLE, { kek: uriOf('main') });
    await world.reason(() => key.encrypt({ tenant: 'new' }));
    const held = key.held.length;
    const first = [];
    for (const tenant of ['a', 'b', 'c']) first.push(await world.reason(() => other.encrypt({ tenant })));
    const lostToFirst = held - key.held.length;
    const read = [];
    for (const { ciphertext, pairs } of others) read.push(await world.reason(() => other.decrypt(ciphertext, pairs)));
    const lostToReads = held - lostToFirst - key.held.length;
    return {
      isFull: held > 20 && held < 60,
      first: [...new Set(first)],
      lostToFirst,
      read: [...new Set(read)],
      lostToReads,
    };
  },
  /** Nothing left to evict: an error of its own, not an outage, and held DEKs serve. */
  exhausted: async () => {
    const all = await messages(1);
    const key = world.key({ partitionBy: ['tenant'] });
    await key.seal({ tenant: 'held' });
    const filler: SlotHandle[] = [];
    try {
      for (;;) filler.push(createKey('raw'));
    } catch {
      // Full.
    }
    const reasons = [
      await world.reason(() => key.encrypt({ tenant: 'new' })),
      await world.reason(() => key.decrypt(all[0]!.ciphertext, all[0]!.pairs)),
      await world.reason(() => key.encrypt({ tenant: 'held' })),
    ];
    world.clock.suspend(2 * TTL);
    reasons.push(await world.reason(() => key.encrypt({ tenant: 'held' })));
    for (const handle of filler) freeKey(handle);
    reasons.push(await world.reason(() => key.encrypt({ tenant: 'held' })));
    return { reasons, health: world.kek('main').health.state, events: world.events };
  },
  /** Decrypt misses cannot push out a DEK that encrypts. */
  separate: async () => {
    const all = await messages(20);
    const key = world.key({ partitionBy: ['tenant'], cache: { maxDeks: 2, maxPartitions: 2 } });
    const { dek } = await key.seal({ tenant: 'encrypts' });
    await readAll(key, all);
    return { place: dek.place, sizes: [key.ring.encrypting.size, key.ring.decrypting.size] };
  },
};

const scene = process.argv[2]!;
openArena({
  size: ['room', 'share', 'outage', 'exhausted'].includes(scene) ? 3 * PAGE : 64 * PAGE,
  lock: 'best-effort',
  maxSealed: 0,
});
writeSync(1, JSON.stringify(await scenes[scene]!()));
