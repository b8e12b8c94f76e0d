import test, { type ExecutionContext } from 'ava';
import {
  type Answer,
  HANG,
  INVALID,
  OK,
  OTHER_KEY,
  refused,
  THROTTLED,
  UNAUTHENTICATED,
  UNREACHABLE,
} from '../fakes/scripted-upstream.ts';
import { makeWorld, plain, SECOND, type TestKey, TTL, uriOf, type World } from './world.ts';

const MAIN = uriOf('main');
const SPARE = uriOf('spare');
const BOTH = [
  ['main', 'authority'],
  ['spare', 'standby'],
] as const;

async function worldWithMiss(t: ExecutionContext): Promise<{ world: World; key: TestKey; ciphertext: Buffer }> {
  const world = makeWorld(t);
  const writer = world.peer({ recipients: BOTH });
  const { ciphertext } = await writer.seal();
  writer.world.keyrings.close();
  world.upstream.calls.length = 0;
  return { world, key: world.key({ recipients: BOTH }), ciphertext };
}

for (const [name, answer] of Object.entries({ HANG, UNREACHABLE, THROTTLED, UNAUTHENTICATED })) {
  test(`a miss goes on to the standby after ${name}`, async (t) => {
    const { world, key, ciphertext } = await worldWithMiss(t);
    world.upstream.script({ kek: MAIN, answer });
    const { text, dek } = await world.value(key.decrypt(ciphertext));
    t.is(text, 'hello');
    t.is(dek.verifiedBy, 'standby');
    t.deepEqual([world.upstream.count('unwrap', MAIN), world.upstream.count('unwrap', SPARE)], [1, 1]);
  });
}

for (const scope of ['kek', 'version', 'access'] as const) {
  test(`a miss does not go on after a refusal of scope ${scope}`, async (t) => {
    const { world, key, ciphertext } = await worldWithMiss(t);
    world.upstream.script({ kek: MAIN, answer: refused(scope) });
    t.is(await world.reason(() => key.decrypt(ciphertext)), 'UPSTREAM_REFUSED');
    t.is(world.upstream.count('unwrap', SPARE), 0);
  });
}

for (const [name, answer] of Object.entries({ INVALID, OTHER_KEY }) as [string, Answer][]) {
  test(`a wrapped copy that is not the DEK (${name}): the next recipient is tried`, async (t) => {
    const { world, key, ciphertext } = await worldWithMiss(t);
    world.upstream.script({ kek: MAIN, answer });
    t.is((await world.value(key.decrypt(ciphertext))).text, 'hello');
    t.is(world.upstream.count('unwrap', SPARE), 1);
  });
}

test('success at the standby re-arms ttl while the authority is out, for as long as that takes', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ recipients: BOTH });
  const { dek } = await key.seal();
  world.upstream.script({ kek: MAIN, answer: UNREACHABLE });
  for (let round = 0; round < 300; round++) {
    t.false(plain(t, key.encrypt()).grace);
    await world.clock.advance(10 * SECOND);
  }
  t.is(dek.verifiedBy, 'standby');
  t.is(key.ring.counters.grace_served, 0);
  world.upstream.answer(OK);
  await world.clock.advance(TTL);
  plain(t, key.encrypt());
  await world.clock.advance(TTL);
  t.is(dek.verifiedBy, 'authority');
});

test("a standby's refusal is nothing while the authority answers", async (t) => {
  const world = makeWorld(t);
  const key = world.key({ recipients: BOTH });
  const { dek } = await key.seal();
  world.upstream.script({ kek: SPARE, answer: refused('kek', 'disabled') });
  for (let round = 0; round < 20; round++) {
    plain(t, key.encrypt());
    await world.clock.advance(30 * SECOND);
  }
  t.is(dek.place, 'encrypting');
  t.is(dek.verifiedBy, 'authority');
  t.is(world.events.length, 0);
});

test("a standby's refusal counts while no authority answers", async (t) => {
  const world = makeWorld(t);
  const key = world.key({ recipients: BOTH });
  const { dek, ciphertext } = await key.seal();
  plain(t, key.encrypt());
  world.upstream.script({ kek: MAIN, answer: UNREACHABLE }, { kek: SPARE, answer: refused('kek', 'disabled') });
  await world.clock.advance(TTL);
  t.is(dek.place, 'gone');
  t.true(world.events.includes('confirmed kek 1'));
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'KEY_DISABLED');
});

test("a standby's refusal is dropped when an authority answers before it is confirmed", async (t) => {
  const world = makeWorld(t);
  world.clock.randoms[0] = 0.999;
  const key = world.key({ recipients: BOTH });
  const { dek } = await key.seal();
  plain(t, key.encrypt());
  world.upstream.script(
    { kek: MAIN, answer: UNREACHABLE, times: 1 },
    { kek: SPARE, answer: refused('kek', 'disabled') },
  );
  while (!world.events.includes('seen kek')) await world.clock.advance(100);
  // Another key's call finds the authority well again.
  await world.value(world.key({ name: 'carts' }).encrypt());
  await world.clock.advance(10 * SECOND);
  t.is(dek.place, 'encrypting');
  t.is(key.ring.counters.purged, 0);
});

test('a DEK whose block has no authority of this configuration obeys its standby', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer({ recipients: [['spare', 'authority']] });
  const { ciphertext } = await writer.seal();
  writer.world.keyrings.close();
  const key = world.key({ recipients: BOTH });
  const { dek } = await world.value(key.decrypt(ciphertext));
  t.is(dek.verifiedBy, 'standby');
  plain(t, key.decrypt(ciphertext));
  world.upstream.script({ kek: SPARE, answer: refused('kek') });
  await world.clock.advance(TTL);
  t.is(dek.place, 'gone');
});

test('any authority of a DEK kills it, retired ones too', async (t) => {
  const world = makeWorld(t);
  const writer = world.peer({
    recipients: [
      ['main', 'authority'],
      ['old', 'authority'],
    ],
  });
  const { ciphertext } = await writer.seal();
  writer.world.keyrings.close();
  const key = world.key({ decryptWith: ['old'] });
  const { dek } = await world.value(key.decrypt(ciphertext));
  t.true(dek.isAuthority(world.kek('old')));
  plain(t, key.decrypt(ciphertext));
  world.upstream.script({ kek: MAIN, answer: UNREACHABLE }, { kek: uriOf('old'), answer: refused('kek') });
  await world.clock.advance(TTL);
  t.is(dek.place, 'gone');
});

test('a recovery recipient is wrapped for and never called', async (t) => {
  const world = makeWorld(t);
  const key = world.key({
    recipients: [
      ['main', 'authority'],
      ['escrow', 'recovery'],
    ],
  });
  const { dek } = await key.seal();
  plain(t, key.encrypt());
  world.upstream.script({ kek: MAIN, answer: UNREACHABLE });
  await world.clock.advance(2 * TTL);
  t.deepEqual([world.upstream.count('wrap', uriOf('escrow')), world.upstream.count('unwrap', uriOf('escrow'))], [1, 0]);
  t.true(dek.block.includes(uriOf('escrow')));
  world.keyrings.close();
  t.is(await world.reason(() => key.decrypt(Buffer.from('x'))), 'INVALID_CIPHERTEXT');
});
