import test from 'ava';
import { HANG, refused } from '../fakes/scripted-upstream.ts';
import { contextOf, makeWorld, type TestKey, type World } from './world.ts';

const SLOW = { kind: 'ok', afterMs: 500 } as const;

test('zeroes the DEKs of one partition, or of all, and says how many', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  const other = world.key({ name: 'carts' });
  const [a, b, c] = [await key.seal({ tenant: 'a' }), await key.seal({ tenant: 'b' }), await other.seal()];
  t.is(world.keyrings.flush('orders', contextOf({ tenant: 'a' })), 1);
  t.deepEqual([a.dek.place, b.dek.place, c.dek.place], ['gone', 'encrypting', 'encrypting']);
  t.is(world.keyrings.flush('orders', contextOf({ tenant: 'nobody' })), 0);
  t.is(key.ring.purgePartition(contextOf({ tenant: 'b' })), 1);
  t.is(world.keyrings.flush('carts'), 1);
  t.is(world.keyrings.flush('unknown'), 0);
  t.is(key.ring.counters.purged, 2);
  t.deepEqual([...world.keyrings.all()], []);
});

test('an unwrap that began before is done again for those who wait, and only that one is cached', async (t) => {
  const world = makeWorld(t);
  const { key, ciphertext } = await flushed(world);
  world.upstream.answer(SLOW);
  const unwraps = world.upstream.count('unwrap');
  const opening = [world.outcome(key.decrypt(ciphertext)), world.outcome(key.decrypt(ciphertext))];
  await world.clock.advance(100);
  t.is(key.ring.flush(), 0);
  for (const opened of opening) t.like(await opened, { value: { text: 'hello' } });
  t.is(world.upstream.count('unwrap') - unwraps, 2);
  t.is(key.held.length, 1);
});

test('a refusal from before a flush is no answer to who waits, and is not remembered', async (t) => {
  const world = makeWorld(t);
  const { key, ciphertext } = await flushed(world);
  world.upstream.script({ operation: 'unwrap', answer: { ...refused('access'), afterMs: 500 } as never, times: 1 });
  const opening = world.outcome(key.decrypt(ciphertext));
  await world.clock.advance(100);
  key.ring.flush();
  t.like(await opening, { value: { text: 'hello' } });
  key.ring.flush();
  t.is((await world.value(key.decrypt(ciphertext))).text, 'hello');
});

test('a DEK that is being made is not used after a flush of its partition; another partition’s is', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  world.upstream.answer(SLOW);
  const wraps = world.upstream.count('wrap');
  const a = world.outcome(key.encrypt({ tenant: 'a' }));
  const b = world.outcome(key.encrypt({ tenant: 'b' }));
  await world.clock.advance(100);
  key.ring.flush(contextOf({ tenant: 'a' }));
  t.like(await a, { value: { grace: false } });
  t.like(await b, { value: { grace: false } });
  t.is(world.upstream.count('wrap') - wraps, 3);
  t.is(key.held.length, 2);
});

test('modes without a cache: what began before is done again too', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ cache: { mode: 'none' } });
  const { ciphertext } = await key.seal();
  world.upstream.answer(SLOW);
  const before = world.upstream.count('unwrap');
  const opening = world.outcome(key.decrypt(ciphertext));
  await world.clock.advance(100);
  key.ring.flush();
  t.like(await opening, { value: { text: 'hello' } });
  t.is(world.upstream.count('unwrap') - before, 2);
});

test('flushed again and again while a DEK is under way: an error that may be retried', async (t) => {
  const world = makeWorld(t);
  const { key, ciphertext } = await flushed(world);
  world.upstream.answer(SLOW);
  const opening = world.outcome(key.decrypt(ciphertext));
  for (let round = 0; round < 6; round++) {
    await world.clock.advance(400);
    key.ring.flush();
  }
  t.like(await opening, { error: { reason: 'UPSTREAM_UNAVAILABLE', retryAfterMs: 1_000 } });
});

test('a refresh under way when its DEK is flushed brings nothing back', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext, dek } = await key.seal();
  await world.clock.advance(6 * 60_000);
  world.upstream.script({ operation: 'unwrap', answer: SLOW, times: 1 });
  const opening = world.outcome(key.decrypt(ciphertext));
  await world.clock.advance(100);
  key.ring.flush();
  t.is(dek.place, 'gone');
  const opened = await opening;
  t.true('value' in opened && opened.value.dek !== dek);
  t.is(key.held.length, 1);
});

test('warm says how many it made', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  t.is(await world.value(key.ring.warm(contextOf({ tenant: 'a' }))), 1);
  t.is(await world.value(key.ring.warm(contextOf({ tenant: 'a' }))), 0);
  const uncached = world.key({ name: 'carts', cache: { mode: 'request' } });
  t.is(await world.value(uncached.ring.warm(new Map())), 0);
  world.upstream.answer(HANG);
  t.is(await world.reason(() => key.ring.warm(contextOf({ tenant: 'b' }))), 'UPSTREAM_UNAVAILABLE');
});

async function flushed(world: World): Promise<{ key: TestKey; ciphertext: Buffer }> {
  const key = world.key();
  const { ciphertext } = await key.seal();
  key.ring.flush();
  return { key, ciphertext };
}
