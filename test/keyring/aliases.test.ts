import test from 'ava';
import { parseDekBlock, sealDekBlock, wrapContext } from '../../src/crypto/dek-block.ts';
import { parseEnvelope } from '../../src/crypto/envelope.ts';
import type { Dek } from '../../src/keyring/dek.ts';
import { refused } from '../fakes/scripted-upstream.ts';
import { attempt, makeWorld, plain, type Sealed, TTL, uriOf, type World } from './world.ts';

/** The same message round the same DEK, with the recipients of a later wrap. */
async function rewrap(
  world: World,
  { ciphertext, dek }: Sealed,
  change: { version?: string; kek?: string; createdMs?: number; generation?: number } = {},
): Promise<Buffer> {
  const kek = uriOf(change.kek ?? 'main');
  world.upstream.versions.set(kek, change.version ?? '2');
  const parsed = parseDekBlock(dek.block);
  const context = wrapContext(dek.keyName, dek.id, dek.partition);
  const signal = new AbortController().signal;
  const wrapped = await world.upstream.wrap(kek, dek.handle, context, { signal });
  const block = sealDekBlock(
    {
      ...parsed,
      ...change,
      recipients: [
        { type: 1, wrapAlgorithm: 6, kekUri: kek, kekVersion: wrapped.kekVersion, wrapped: Buffer.from(wrapped.bytes) },
      ],
    },
    dek.handle,
  );
  return withBlock(ciphertext, block);
}

function withBlock(ciphertext: Buffer, block: Buffer): Buffer {
  const { sealedOffset } = parseEnvelope(ciphertext);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(block.length);
  return Buffer.concat([ciphertext.subarray(0, 40), length, block, ciphertext.subarray(sealedOffset)]);
}

test('a rewrapped block of a held DEK is a hit, checked once and remembered', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const sealed = await key.seal();
  const calls = world.upstream.count();
  const rewrapped = await rewrap(world, sealed);
  for (let tries = 0; tries < 3; tries++) t.is(plain(t, key.decrypt(rewrapped)).dek, sealed.dek);
  t.is(world.upstream.count(), calls + 1, 'the wrap of the test, and nothing else');
  t.is(key.ring.counters.aliases, 1);
  t.deepEqual(
    sealed.dek.recipients.map(({ wrapped }) => wrapped.kekVersion),
    ['1', '2'],
  );
});

test('at most 8 aliases are remembered; a ninth is checked and takes the oldest one’s place', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const sealed = await key.seal();
  const all = [];
  for (let version = 2; version <= 11; version++) all.push(await rewrap(world, sealed, { version: `${version}` }));
  for (const one of all) plain(t, key.decrypt(one));
  t.is(key.ring.counters.aliases, 10);
  for (const one of all.slice(2)) plain(t, key.decrypt(one));
  t.is(key.ring.counters.aliases, 10);
  plain(t, key.decrypt(all[0]!));
  t.is(key.ring.counters.aliases, 11);
});

test('a block that disagrees in created or generation is refused, though its MAC verifies', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const sealed = await key.seal();
  for (const change of [{ createdMs: 1 }, { generation: 1 }]) {
    const other = await rewrap(world, sealed, change);
    t.throws(() => key.decrypt(other), { message: /cannot be opened/ });
  }
  t.is(key.ring.counters.aliases, 0);
});

test('an altered or foreign block is refused on a hit, without a call', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const sealed = await key.seal();
  await world.value(key.ring.rotate());
  const other = await key.seal();
  const calls = world.upstream.count();
  const altered = Buffer.from(sealed.dek.block);
  altered[3]! ^= 1;
  for (const block of [altered, other.dek.block]) {
    t.is(await world.reason(() => key.decrypt(withBlock(sealed.ciphertext, block))), 'INVALID_CIPHERTEXT');
  }
  t.is(world.upstream.count(), calls);
  t.is(key.ring.counters.aliases, 0);
});

test('two loads of one DEK with different blocks end as one DEK with an alias', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer();
  const sealed = await writer.seal();
  const rewrapped = await rewrap(world, sealed);
  const key = world.key();
  const both = await world.value(Promise.all([key.decrypt(sealed.ciphertext), key.decrypt(rewrapped)]));
  t.deepEqual(
    both.map(({ text }) => text),
    ['hello', 'hello'],
  );
  t.is(key.held.length, 1);
  t.deepEqual(both.map(({ dek }) => dek.place).toSorted(), ['decrypting', 'gone']);
  t.is(key.ring.counters.aliases, 1);
  for (const ciphertext of [sealed.ciphertext, rewrapped]) plain(t, key.decrypt(ciphertext));
});

test("an alias's authorities are the DEK's: their refusal kills it", async (t) => {
  const world = makeWorld(t);
  const key = world.key({ decryptWith: ['old'] });
  const sealed = await key.seal();
  const rewrapped = await rewrap(world, sealed, { kek: 'old', version: '1' });
  plain(t, key.decrypt(rewrapped));
  const { dek } = sealed;
  t.true(dek.isAuthority(world.kek('old')));
  world.upstream.script({ kek: uriOf('main'), answer: { kind: 'fail', class: 'unreachable' } });
  world.upstream.script({ kek: uriOf('old'), answer: refused('kek') });
  await world.clock.advance(TTL);
  t.is(dek.place, 'gone');
});

test('a block of another key round a held DEK opens nothing', async (t) => {
  const world = makeWorld(t);
  const orders = world.key({ name: 'orders' });
  const carts = world.key({ name: 'carts' });
  const sealed = await orders.seal();
  const parsed = parseDekBlock(sealed.dek.block);
  const block = sealDekBlock({ ...parsed, keyName: 'carts' }, sealed.dek.handle);
  t.is(
    await world.reason(() => attempt(() => carts.decrypt(withBlock(sealed.ciphertext, block)))),
    'INVALID_CIPHERTEXT',
  );
  t.deepEqual([orders.held as Dek[], carts.held.length], [[sealed.dek], 0]);
});
