import test, { type ExecutionContext } from 'ava';
import { OK, refused, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import type { KeySetup, Sealed } from './world.ts';
import { MINUTE, makeResilientWorld, SECOND, uriOf } from './world.ts';

// A refusal that was seen and whose confirmation is cut off: a DEK that is not held any more does not come back through another recipient.

const TTL = MINUTE;
const MAIN = uriOf('main');
const DISABLED = refused('kek', 'disabled');
const DENIED = refused('access');

/** `main` refuses the DEK of tenant a, once, and is then out; `spare` answers. */
async function pending(
  t: ExecutionContext,
  role: 'authority' | 'standby',
  refusal: typeof DISABLED,
  mode: Partial<KeySetup> = {},
) {
  const world = makeResilientWorld(t, { apart: true });
  const setup = {
    recipients: [
      ['main', 'authority'],
      ['spare', role],
    ],
    partitionBy: ['tenant'],
    cache: { ttlMs: TTL, graceMs: 10 * MINUTE },
    ...mode,
  } satisfies KeySetup;
  const key = world.key(setup);
  const writer = world.peer(setup);
  const sealed = new Map<string, Sealed>();
  for (const tenant of ['a', 'b', 'c']) sealed.set(tenant, await writer.seal({ tenant }));
  const open = (tenant: string): Promise<string> =>
    world.reason(() => key.decrypt(sealed.get(tenant)!.ciphertext, { tenant }));
  t.is(await open('a'), 'none');
  world.upstream.script({ kek: MAIN, answer: UNREACHABLE });
  world.upstream.script({ kek: MAIN, operation: 'unwrap', answer: refusal, times: 1 });
  while (!world.events.some((event) => event.startsWith('pending'))) {
    await open('a');
    await world.clock.advance(SECOND);
  }
  return { world, key, open };
}

for (const role of ['standby', 'authority'] as const) {
  for (const [name, refusal] of [
    ['kek', DISABLED],
    ['access', DENIED],
  ] as const) {
    test(`pending, scope ${name}: a flushed DEK does not come back through the other ${role}, however long main is out`, async (t) => {
      const { world, key, open } = await pending(t, role, refusal);
      for (let round = 0; round < 4; round++) {
        key.ring.flush();
        t.is(await open('a'), 'UPSTREAM_UNAVAILABLE');
        await world.clock.advance(20 * SECOND);
      }
      t.is(await open('a'), 'UPSTREAM_UNAVAILABLE');
      // Of another partition nothing was said, if it was about access.
      t.is(await open('b'), name === 'kek' ? 'UPSTREAM_UNAVAILABLE' : 'none');
      world.upstream.answer(OK);
      await world.clock.advance(30 * SECOND);
      t.true(world.events.includes(`withdrawn ${name}`));
      t.is(await open('a'), 'none');
    });
  }
}

test('pending: nor does one that another miss evicted', async (t) => {
  const { key, open } = await pending(t, 'standby', DENIED, {
    cache: { ttlMs: TTL, graceMs: 10 * MINUTE, maxDeks: 1 },
  });
  t.is(await open('b'), 'none');
  t.is(key.held.length, 1);
  t.is(await open('a'), 'UPSTREAM_UNAVAILABLE');
});

test('a refusal whose DEK is gone is settled all the same: confirmed, it is no answer to wait for', async (t) => {
  const { world, key, open } = await pending(t, 'standby', DISABLED);
  key.ring.flush();
  world.upstream.answer(DISABLED, { kek: MAIN });
  await world.clock.advance(30 * SECOND);
  t.true(world.events.includes('confirmed kek 0'));
  t.is(await open('a'), 'KEY_DISABLED');
  const settledAt = world.upstream.count('unwrap', MAIN);
  await world.clock.advance(30 * SECOND);
  t.is(world.upstream.count('unwrap', MAIN), settledAt, 'it is asked no more');
});

for (const role of ['standby', 'authority'] as const) {
  test(`pending: cutting and restoring the line to another ${role} re-arms nothing`, async (t) => {
    const { world, key, open } = await pending(t, role, DISABLED);
    const spare = uriOf('spare');
    // Another key in use, so that the breaker of its line opens and closes.
    const carts = world.key({ name: 'carts', recipients: [['spare', 'authority']], cache: { mode: 'none' } });
    const seenAtMs = world.clock.bootMs();
    const ends: { reason: string; atMs: number }[] = [];
    for (let second = 0; second < 240; second++) {
      if (second % 40 === 10) world.upstream.script({ kek: spare, answer: UNREACHABLE });
      if (second % 40 === 18) world.upstream.script({ kek: spare, answer: OK });
      await world.reason(() => carts.encrypt());
      ends.push({ reason: await open('a'), atMs: world.clock.bootMs() - seenAtMs });
      await world.clock.advance(SECOND);
    }
    t.true(key.ring.counters.refresh_failures > 0);
    const late = ends.filter(({ atMs }) => atMs > TTL + 5 * SECOND);
    t.deepEqual([...new Set(late.map(({ reason }) => reason))], ['UPSTREAM_UNAVAILABLE']);
    t.true(ends.some(({ reason }) => reason === 'none'));
  });
}

test('pending, scope version: a block wrapped under another version of that KEK re-arms nothing either', async (t) => {
  const world = makeResilientWorld(t);
  const key = world.key({ cache: { ttlMs: TTL, graceMs: 10 * MINUTE } });
  const writer = world.peer({ cache: { ttlMs: TTL, graceMs: 10 * MINUTE } });
  const { dek, ciphertext } = await writer.seal();
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'none');
  const [held] = key.held;
  const [first] = held!.recipients;
  world.upstream.versions.set(MAIN, '2');
  const { signal } = new AbortController();
  const wrapped = await world.upstream.wrap(MAIN, dek.handle, held!.wrapContext, { signal });
  held!.recipients = [first!, { ...first!, wrapped }];
  world.upstream.script({ answer: UNREACHABLE });
  world.upstream.script({ operation: 'unwrap', version: '1', answer: refused('version', 'disabled'), times: 1 });
  while (!world.events.includes('pending version')) {
    await world.reason(() => key.decrypt(ciphertext));
    await world.clock.advance(SECOND);
  }
  const { verifiedAtMs } = held!;
  world.upstream.script({ operation: 'unwrap', version: '2', answer: OK }, { operation: 'describe', answer: OK });
  await world.clock.advance(30 * SECOND);
  t.is(held!.verifiedAtMs, verifiedAtMs);
});
