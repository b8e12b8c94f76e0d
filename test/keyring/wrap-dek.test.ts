import test from 'ava';
import { parseDekBlock } from '../../src/crypto/dek-block.ts';
import { parseEnvelope } from '../../src/crypto/envelope.ts';
import {
  INVALID,
  OK,
  OTHER_KEY,
  refused,
  THROTTLED,
  UNAUTHENTICATED,
  UNREACHABLE,
} from '../fakes/scripted-upstream.ts';
import { HOUR, MINUTE, makeWorld, plain, SECOND, TTL, uriOf, waiterOf } from './world.ts';

const RECIPIENTS = {
  recipients: [
    ['main', 'authority'],
    ['spare', 'standby'],
    ['escrow', 'recovery'],
  ],
} as const;
const ANY = { ...RECIPIENTS, wrap: 'any' } as const;

/** The names of the KEKs that a ciphertext’s block is wrapped for. */
function wrappedFor(ciphertext: Buffer): string[] {
  return parseDekBlock(parseEnvelope(ciphertext).block!).recipients.map(({ kekUri }) => kekUri.split('/').at(-1)!);
}

for (const [name, answer] of [
  ['unreachable', UNREACHABLE],
  ['throttled', THROTTLED],
  ['unauthenticated', UNAUTHENTICATED],
] as const) {
  test(`any: an authority that is ${name} is left out, and who is missing shows`, async (t) => {
    const world = makeWorld(t);
    const key = world.key(ANY);
    world.upstream.answer(answer, { kek: uriOf('main') });
    const { ciphertext, dek } = await key.seal();
    t.deepEqual(wrappedFor(ciphertext), ['spare', 'escrow']);
    t.is(dek.verifiedBy, 'standby');
    t.is(key.ring.counters.recipients_missing, 1);
    t.deepEqual([...key.ring.encrypting.missingRecipients()], [[world.kek('main'), 1]]);
    t.is(plain(t, key.decrypt(ciphertext)).text, 'hello');
    const reader = world.peer(RECIPIENTS);
    t.is((await reader.world.value(reader.decrypt(ciphertext))).text, 'hello');
  });
}

test('any: a standby and a recovery KEK are left out too; what answers is wrapped for and verified', async (t) => {
  const world = makeWorld(t);
  const key = world.key(ANY);
  for (const kek of ['spare', 'escrow']) world.upstream.answer(UNREACHABLE, { kek: uriOf(kek) });
  const { ciphertext, dek } = await key.seal();
  t.deepEqual(wrappedFor(ciphertext), ['main']);
  t.is(dek.verifiedBy, 'authority');
  t.deepEqual([world.upstream.count('unwrap', uriOf('main')), key.ring.counters.recipients_missing], [1, 2]);
});

test('any: one that wraps and then does not answer for its proof is left out', async (t) => {
  const world = makeWorld(t);
  const key = world.key(ANY);
  world.upstream.answer(UNREACHABLE, { kek: uriOf('main'), operation: 'unwrap' });
  const { ciphertext } = await key.seal();
  t.deepEqual(wrappedFor(ciphertext), ['spare', 'escrow']);
  t.deepEqual([...key.ring.encrypting.missingRecipients().keys()], [world.kek('main')]);
});

test('any: without an authority or standby nothing is made, whoever else answers', async (t) => {
  for (const operation of ['wrap', 'unwrap'] as const) {
    const world = makeWorld(t);
    const key = world.key(ANY);
    for (const kek of ['main', 'spare']) world.upstream.answer(UNREACHABLE, { kek: uriOf(kek), operation });
    t.is(await world.reason(() => key.encrypt()), 'UPSTREAM_UNAVAILABLE');
    t.deepEqual([key.held.length, key.ring.counters.recipients_missing], [0, 0]);
  }
});

test('any: a refusal and a wrong answer end the making, whoever gives them', async (t) => {
  for (const [answer, reason] of [
    [refused('kek', 'disabled'), 'KEY_DISABLED'],
    [refused('access'), 'UPSTREAM_REFUSED'],
    [INVALID, 'UPSTREAM_FAULT'],
    [OTHER_KEY, 'UPSTREAM_FAULT'],
  ] as const) {
    for (const kek of ['main', 'spare']) {
      const world = makeWorld(t);
      const key = world.key(ANY);
      const operation = answer === OTHER_KEY ? 'unwrap' : 'wrap';
      world.upstream.answer(answer, { kek: uriOf(kek), operation });
      t.is(await world.reason(() => key.encrypt()), reason, `${kek}: ${reason}`);
      t.is(key.held.length, 0);
    }
  }
});

for (const missing of ['main', 'spare', 'escrow']) {
  test(`all: without ${missing} nothing is made, and the old DEK goes on`, async (t) => {
    const world = makeWorld(t);
    const key = world.key({ ...RECIPIENTS, partitionBy: ['tenant'], cache: { rotateAfterMs: HOUR } });
    const { dek } = await key.seal({ tenant: 'old' });
    world.upstream.answer(UNREACHABLE, { kek: uriOf(missing) });
    t.is(await world.reason(() => key.encrypt({ tenant: 'new' })), 'UPSTREAM_UNAVAILABLE');
    for (let minute = 0; minute < 90; minute++) {
      await world.clock.advance(MINUTE);
      t.is((await world.value(key.encrypt({ tenant: 'old' }))).dek, dek);
    }
    t.true(key.ring.counters.rotation_failures > 0);
    t.is(key.ring.counters.rotations, 0);
  });
}

test('any: rotation goes on with who is there', async (t) => {
  const world = makeWorld(t);
  const key = world.key({ ...ANY, cache: { rotateAfterMs: HOUR } });
  const { dek } = await key.seal();
  world.upstream.answer(UNREACHABLE, { kek: uriOf('main') });
  for (let minute = 0; minute < 70; minute++) {
    await world.clock.advance(MINUTE);
    await world.value(key.encrypt());
  }
  const { ciphertext, dek: next } = await key.seal();
  t.not(next, dek);
  t.deepEqual(wrappedFor(ciphertext), ['spare', 'escrow']);
  t.is(key.ring.counters.rotations, 1);
});

test('any: Rewrap adds what is missing once it is back, and then each recipient alone opens the block', async (t) => {
  const world = makeWorld(t);
  const key = world.key(ANY);
  world.upstream.answer(UNREACHABLE, { kek: uriOf('main') });
  const { ciphertext } = await key.seal();
  const { envelope } = world.keyrings.locate(parseEnvelope(ciphertext));
  const rewrap = () => key.ring.rewrapper.rewrap(envelope, waiterOf());
  t.is(await world.reason(rewrap), 'UPSTREAM_UNAVAILABLE', 'never for fewer than all');
  for (const operation of ['wrap', 'unwrap'] as const) {
    world.upstream.answer(OK);
    world.upstream.answer(UNREACHABLE, { kek: uriOf('main'), operation });
    t.is(await world.reason(rewrap), 'UPSTREAM_UNAVAILABLE', operation);
  }
  world.upstream.answer(OK);
  const { ciphertext: rewrapped, changed } = await world.value(rewrap());
  t.true(changed);
  t.deepEqual(wrappedFor(rewrapped), ['main', 'spare', 'escrow']);
  t.is(plain(t, key.decrypt(rewrapped)).text, 'hello');
  for (const kek of ['main', 'spare', 'escrow']) {
    const reader = world.peer({ recipients: [[kek, 'authority']] });
    t.is((await reader.world.value(reader.decrypt(rewrapped))).text, 'hello', kek);
  }
});

test('of a DEK without an authority’s copy the standby’s refusal counts as one: confirmed, it purges', async (t) => {
  const world = makeWorld(t);
  const key = world.key(ANY);
  world.upstream.answer(UNREACHABLE, { kek: uriOf('main') });
  const { dek, ciphertext } = await key.seal();
  world.upstream.answer(refused('kek', 'disabled'), { kek: uriOf('spare') });
  await world.clock.advance(TTL - SECOND);
  plain(t, key.decrypt(ciphertext));
  await world.clock.advance(6 * SECOND);
  t.is(dek.place, 'gone');
  t.true(world.events.includes('confirmed kek 1'));
  t.is(await world.reason(() => key.decrypt(ciphertext)), 'KEY_DISABLED');
});

test('a DEK without an authority’s copy serves in grace while its standby is out', async (t) => {
  const world = makeWorld(t);
  const key = world.key(ANY);
  world.upstream.answer(UNREACHABLE);
  world.upstream.answer(OK, { kek: uriOf('spare') });
  const { ciphertext } = await key.seal();
  world.upstream.answer(UNREACHABLE);
  await world.clock.advance(TTL + MINUTE);
  t.true((await world.value(key.decrypt(ciphertext))).grace);
});
