import test from 'ava';
import { openEnvelope, parseEnvelope, sealMessage } from '../../src/crypto/envelope.ts';
import { INVALID, OK, refused, THROTTLED, UNAUTHENTICATED, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { attempt, makeWorld, plain, SECOND } from './world.ts';

test('a foreign KEK costs no call', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer({ recipients: [['foreign', 'authority']] });
  const { ciphertext } = await writer.seal();
  const key = world.key({ recipients: [['main', 'authority']] });
  const calls = world.upstream.count();
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'INVALID_CIPHERTEXT');
  t.is(world.upstream.count(), calls);
});

test('a KEK of another key of this agent is foreign too', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer({ name: 'orders', recipients: [['carts', 'authority']] });
  const { ciphertext } = await writer.seal();
  world.key({ name: 'carts', recipients: [['carts', 'authority']] });
  const key = world.key({ name: 'orders', recipients: [['main', 'authority']] });
  const calls = world.upstream.count();
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'INVALID_CIPHERTEXT');
  t.is(world.upstream.count(), calls);
});

test('a context without the block’s partition costs no call, on a miss and on a hit', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer({ partitionBy: ['tenant', 'region'] });
  const pairs = { tenant: 'acme', region: 'eu' };
  const { ciphertext } = await writer.seal(pairs);
  // Today's configuration partitions by nothing: the keys come from the block.
  const key = world.key();
  const calls = world.upstream.count();
  const wrong = [{}, { tenant: 'acme' }, { tenant: 'acme', region: 'us' }, { tenant: 'other', region: 'eu' }];
  for (const context of wrong) {
    t.is(await world.reason(() => key.decrypt(ciphertext, context)), 'INVALID_CIPHERTEXT');
  }
  t.is(world.upstream.count(), calls);
  await world.value(key.decrypt(ciphertext, pairs));
  t.is(world.upstream.count(), calls + 1);
  for (const context of wrong) {
    t.throws(() => key.decrypt(ciphertext, context), { message: /cannot be opened/ });
  }
  t.is(plain(t, key.decrypt(ciphertext, pairs)).text, 'hello');
});

test('a message under a partition’s DEK whose own context is of another partition is refused, though it authenticates', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  const { dek } = await key.seal({ tenant: 'acme' });
  const context = new Map([['tenant', 'other']]);
  const forged = sealMessage(dek.handle, dek.prefix, context, Buffer.alloc(0), Buffer.from('forged'));
  t.is(openEnvelope(dek.handle, parseEnvelope(forged), context, Buffer.alloc(0)).toString(), 'forged');
  t.throws(() => key.decrypt(forged, { tenant: 'other' }), { message: /cannot be opened/ });
});

test('a partition value that is missing, empty or over 256 bytes is an invalid request, before any call', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ partitionBy: ['tenant'] });
  for (const pairs of [{}, { tenant: '' }, { tenant: 'x'.repeat(257) }, { tenant: 'ü'.repeat(129) }]) {
    const error = t.throws(() => key.encrypt(pairs as Record<string, string>));
    t.regex(error.message, /^encryption_context: entry "tenant"/);
  }
  t.is(world.upstream.count(), 0);
  await key.seal({ tenant: 'x'.repeat(256) });
});

test('the names of partition_by have one order, whatever the configuration’s', async (t) => {
  const world = makeWorld(t);
  const pairs = { b: '2', a: '1', '\u{10000}': '4', '\ue000': '3' };
  const one = world.key({ name: 'one', partitionBy: ['\u{10000}', 'b', '\ue000', 'a'] });
  const { ciphertext, dek } = await one.seal(pairs);
  t.deepEqual([...dek.partition.keys()], ['a', 'b', '\ue000', '\u{10000}']);
  t.is(plain(t, one.decrypt(ciphertext, pairs)).text, 'hello');
});

test('invalid is remembered for 60 s, by block', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const { ciphertext } = await writer.seal();
  const key = world.key();
  world.upstream.answer(INVALID);
  const calls = world.upstream.count();
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'INVALID_CIPHERTEXT');
  world.upstream.answer(OK);
  for (let second = 0; second < 60; second += 10) {
    t.is(await world.reason(() => key.decrypt(ciphertext)), 'INVALID_CIPHERTEXT');
    await world.clock.advance(10 * SECOND);
  }
  t.is(world.upstream.count(), calls + 1);
  t.is(key.ring.counters.negative_hits, 6);
  await world.clock.advance(1);
  t.is((await world.value(key.decrypt(ciphertext))).text, 'hello');
});

test('refused is remembered for 5 s, for unwraps and for wraps', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const { ciphertext } = await writer.seal();
  const key = world.key();
  world.upstream.answer(refused('kek', 'disabled'));
  for (const [operation, call] of [
    ['unwrap', () => key.decrypt(ciphertext)],
    ['wrap', () => key.encrypt()],
  ] as const) {
    const calls = world.upstream.count(operation);
    const startMs = world.clock.bootMs();
    t.is(await world.reason(call), 'KEY_DISABLED');
    t.is(await world.reason(call), 'KEY_DISABLED');
    await world.clock.advance(startMs + 5 * SECOND - world.clock.bootMs());
    t.is(await world.reason(call), 'KEY_DISABLED');
    t.is(world.upstream.count(operation), calls + 1);
    await world.clock.advance(100);
    t.is(await world.reason(call), 'KEY_DISABLED');
    t.is(world.upstream.count(operation), calls + 2);
  }
});

for (const [name, answer] of Object.entries({ UNREACHABLE, THROTTLED, UNAUTHENTICATED })) {
  test(`${name} is never remembered`, async (t) => {
    const world = makeWorld(t);
    const writer = world.peer();
    const { ciphertext } = await writer.seal();
    const key = world.key();
    world.upstream.answer(answer);
    const calls = world.upstream.count();
    for (let tries = 0; tries < 3; tries++) await world.reason(() => key.decrypt(ciphertext));
    t.is(world.upstream.count(), calls + 3);
    world.upstream.answer(OK);
    t.is((await world.value(key.decrypt(ciphertext))).text, 'hello');
  });
}

test('the quota: of 1,001 different DEKs at once the last one is turned away without a call', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer({ partitionBy: ['tenant'], cache: { verifyWrap: false, maxPartitions: 1 } });
  const ciphertexts: Buffer[] = [];
  for (let at = 0; at <= 1_000; at++) ciphertexts.push((await writer.seal({ tenant: `t${at}` })).ciphertext);
  writer.world.keyrings.close();
  const key = world.key({ cache: { maxDeks: 1_001 } });
  world.upstream.answer({ kind: 'ok', afterMs: 500 });
  const calls = world.upstream.count();
  const loads = ciphertexts.slice(0, 1_000).map((one, at) => world.outcome(key.decrypt(one, { tenant: `t${at}` })));
  const late = attempt(() => key.decrypt(ciphertexts[1_000]!, { tenant: 't1000' }));
  const error = await t.throwsAsync(late, { message: /too many/ });
  t.is((error as { reason?: string }).reason, 'QUOTA_EXCEEDED');
  t.is(world.upstream.count(), calls + 1_000);
  t.true((await Promise.all(loads)).every((outcome) => 'value' in outcome));
  t.is(key.ring.decrypting.size, 1_000);
});

test('a ciphertext with a valid block and a broken payload caches nothing', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const { ciphertext } = await writer.seal();
  const key = world.key();
  const broken = Buffer.from(ciphertext);
  broken[broken.length - 1]! ^= 1;
  t.is(await world.reason(() => key.decrypt(broken)), 'INVALID_CIPHERTEXT');
  t.is(key.held.length, 0);
  t.is([...world.keyrings.all()].length, 0);
  const calls = world.upstream.count();
  t.is((await world.value(key.decrypt(ciphertext))).text, 'hello', 'the lingering DEK is proven by a good payload');
  t.is(world.upstream.count(), calls);
  t.is(key.held.length, 1);
});

test('a DEK that nobody could use is zeroed after 5 s', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const { ciphertext } = await writer.seal();
  writer.world.keyrings.close();
  const key = world.key();
  const broken = Buffer.from(ciphertext);
  broken[broken.length - 1]! ^= 1;
  const calls = world.upstream.count();
  t.is(await world.reason(() => key.decrypt(broken)), 'INVALID_CIPHERTEXT');
  t.is(world.clock.timers, 2);
  await world.clock.advance(5 * SECOND);
  t.is(world.clock.timers, 1);
  t.is(await world.reason(() => key.decrypt(broken)), 'INVALID_CIPHERTEXT');
  t.is(world.upstream.count(), calls + 2);
});

test('retries do not prolong the life of a DEK that nobody could use', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const { ciphertext } = await writer.seal();
  writer.world.keyrings.close();
  const key = world.key();
  const broken = Buffer.from(ciphertext);
  broken[broken.length - 1]! ^= 1;
  const calls = world.upstream.count();
  for (let second = 0; second < 12; second++) {
    t.is(await world.reason(() => key.decrypt(broken)), 'INVALID_CIPHERTEXT');
    await world.clock.advance(SECOND);
  }
  t.is(world.upstream.count(), calls + 3);
});

for (const mode of ['none', 'session'] as const) {
  test(`mode ${mode}: DEKs under way are bounded, made and unwrapped ones`, async (t) => {
    const world = makeWorld(t);
    const writer = world.peer();
    const { ciphertext } = await writer.seal();
    const key = world.key({ partitionBy: ['tenant'], cache: { mode } });
    world.upstream.answer({ kind: 'ok', afterMs: 500 });
    const making = Array.from({ length: 1_000 }, (_, at) => world.outcome(key.encrypt({ tenant: `t${at}` })));
    t.is(await world.reason(() => key.encrypt({ tenant: 'one more' })), 'QUOTA_EXCEEDED');
    t.true((await Promise.all(making)).every((outcome) => 'value' in outcome));
    if (mode === 'session') return;
    const opening = Array.from({ length: 1_000 }, () => world.outcome(key.decrypt(ciphertext)));
    t.is(await world.reason(() => key.decrypt(ciphertext)), 'QUOTA_EXCEEDED');
    t.true((await Promise.all(opening)).every((outcome) => 'value' in outcome));
  });
}

test('an altered block, dek_id or MAC is invalid on a miss, and nothing is cached', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const { ciphertext } = await writer.seal();
  const { sealedOffset } = parseEnvelope(ciphertext);
  for (const at of [8, 39, sealedOffset - 1, 50]) {
    const key = world.key({ name: 'orders' });
    const altered = Buffer.from(ciphertext);
    altered[at]! ^= 1;
    t.is(await world.reason(() => key.decrypt(altered)), 'INVALID_CIPHERTEXT', `byte ${at}`);
    t.is(key.held.length, 0);
  }
});
