import test from 'ava';
import { LRUCache } from 'lru-cache';
import type { Dek } from '../../src/keyring/dek.ts';
import { spareable } from '../../src/keyring/spareable.ts';
import { UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { Load } from './load.ts';
import { HOUR, MINUTE, makeResilientWorld, SECOND, uriOf } from './world.ts';

const TTL = MINUTE;

/** As far as it is looked at here. */
function dek(isOut: boolean): Dek {
  return { unanswered: () => isOut } as unknown as Dek;
}

test('the one that was used longest ago; whose upstreams are out is passed over', (t) => {
  const deks = new LRUCache<string, Dek>({ max: 10 });
  t.is(spareable(deks, 0), undefined);
  for (const name of ['out 1', 'out 2']) deks.set(name, dek(true));
  t.is(spareable(deks, 0), undefined);
  for (const name of ['a', 'b']) deks.set(name, dek(false));
  t.is(spareable(deks, 0), 'a');
  t.is(deks.size, 4, 'it only tells');
});

test('a look passes over 64 at most, and the next one begins after them', (t) => {
  const deks = new LRUCache<number, Dek>({ max: 1_000 });
  let looks = 0;
  const counted = { unanswered: () => ++looks > 0 } as unknown as Dek;
  for (let at = 0; at < 100; at++) deks.set(at, counted);
  deks.set(100, dek(false));
  t.is(spareable(deks, 0), undefined);
  t.is(looks, 64);
  t.is(spareable(deks, 0), 100);
  t.is(looks, 100);
});

test('in an outage misses that are answered push out none of its DEKs, and are served', async (t) => {
  const world = makeResilientWorld(t, { apart: true });
  const setup = { partitionBy: ['tenant'] };
  const key = world.key({ ...setup, decryptWith: ['old'], cache: { ttlMs: TTL, graceMs: HOUR, maxDeks: 20 } });
  const written = async (kek: string, tenants: number) => {
    const writer = world.peer({ ...setup, recipients: [[kek, 'authority']] });
    const messages = [];
    for (let tenant = 0; tenant < tenants; tenant++) {
      const pairs = { tenant: `${kek}${tenant}` };
      messages.push({ pairs, ciphertext: (await writer.seal(pairs)).ciphertext });
    }
    return messages;
  };
  const flood = await written('old', 60);
  for (const count of [10, 20]) {
    world.upstream.answer({ kind: 'ok' });
    const messages = await written('main', count);
    key.ring.flush();
    await world.clock.advance(10 * SECOND);
    for (const { ciphertext, pairs } of messages) await world.value(key.decrypt(ciphertext, pairs));
    const load = new Load(key, messages);
    world.upstream.answer(UNREACHABLE, { kek: uriOf('main') });
    await load.run(90 * SECOND, { everyMs: SECOND, encrypts: false });
    for (const { ciphertext, pairs } of flood) t.is((await world.value(key.decrypt(ciphertext, pairs))).text, 'hello');
    t.is(key.held.length, 20);
    load.forget();
    await load.run(SECOND, { everyMs: SECOND, encrypts: false });
    t.deepEqual(load.failed, [], `${count} of 20 in grace`);
    t.true(load.uses.every(({ grace }) => grace === true));
    t.is(key.ring.decrypting.size, 20);
  }
});
