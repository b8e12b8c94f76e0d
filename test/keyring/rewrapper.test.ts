import test from 'ava';
import { parseDekBlock } from '../../src/crypto/dek-block.ts';
import { parseEnvelope } from '../../src/crypto/envelope.ts';
import { HEADER_BYTES } from '../../src/crypto/suites.ts';
import { DekdError } from '../../src/errors.ts';
import { HANG, INVALID, OTHER_KEY, refused, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { makeWorld, type TestKey, uriOf, type World, waiterOf } from './world.ts';

const NEW_RECIPIENTS = {
  recipients: [
    ['new', 'authority'],
    ['spare', 'standby'],
    ['escrow', 'recovery'],
  ],
  decryptWith: ['main'],
} as const;

type Rewrapped = { ciphertext: Buffer; changed: boolean };

function rewrap(key: TestKey, ciphertext: Buffer, control = new AbortController()): Promise<Rewrapped> {
  const { envelope } = key.world.keyrings.locate(parseEnvelope(ciphertext));
  return key.ring.rewrapper.rewrap(envelope, waiterOf(control.signal));
}

const blockOf = (ciphertext: Buffer) => parseDekBlock(parseEnvelope(ciphertext).block!);
const payloadOf = (ciphertext: Buffer) => ciphertext.subarray(parseEnvelope(ciphertext).sealedOffset);

/** A message of a key that was wrapped for `main` alone, and the agent that wraps for others now. */
async function migrated(world: World): Promise<{ ciphertext: Buffer; key: TestKey }> {
  const { ciphertext } = await world.key({ partitionBy: ['tenant'] }).seal({ tenant: 'acme' });
  return { ciphertext, key: world.peer(NEW_RECIPIENTS) };
}

test('new recipients in the configuration’s order round the same DEK; everything else of the envelope stays', async (t) => {
  const world = makeWorld(t);
  const { ciphertext, key } = await migrated(world);
  const { ciphertext: made, changed } = await world.value(rewrap(key, ciphertext));
  t.true(changed);
  t.deepEqual(payloadOf(made), payloadOf(ciphertext));
  t.deepEqual(made.subarray(0, HEADER_BYTES), ciphertext.subarray(0, HEADER_BYTES));
  const [before, after] = [blockOf(ciphertext), blockOf(made)];
  t.deepEqual({ ...after, recipients: [] }, { ...before, recipients: [] });
  t.deepEqual(
    after.recipients.map(({ kekUri }) => kekUri),
    ['new', 'spare', 'escrow'].map((name) => uriOf(name)),
  );
  t.deepEqual(key.held, [], 'nothing enters the cache');
  // It opens by the new KEK alone, in an agent that no longer knows the old one.
  world.upstream.answer(UNREACHABLE, { kek: uriOf('main') });
  const later = world.peer({ recipients: [['new', 'authority']] });
  t.is((await world.value(later.decrypt(made, { tenant: 'acme' }))).text, 'hello');
});

test('each authority and standby has unwrapped its copy once, recovery never; not with refresh: renew', async (t) => {
  const world = makeWorld(t);
  const { ciphertext, key } = await migrated(world);
  await world.value(rewrap(key, ciphertext));
  const counts = (operation: 'wrap' | 'unwrap') =>
    ['main', 'new', 'spare', 'escrow'].map((kek) => world.upstream.count(operation, uriOf(kek)));
  t.deepEqual(counts('wrap'), [1, 1, 1, 1]);
  // `main`: the first DEK's proof, and this unwrap.
  t.deepEqual(counts('unwrap'), [2, 1, 1, 0]);
  t.is(world.upstream.count('describe', uriOf('escrow')), 0);
  const writer = world.peer({ ...NEW_RECIPIENTS, cache: { verifyWrap: false } });
  await world.value(rewrap(writer, ciphertext));
  t.deepEqual(counts('unwrap'), [3, 1, 1, 0]);
});

test('the very same bytes when recipients, order and versions are the wanted ones; no wrap, no unwrap', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  world.upstream.describedVersions.set(uriOf('main'), ['1']);
  const { ciphertext } = await key.seal();
  const calls = [world.upstream.count('wrap'), world.upstream.count('unwrap')];
  t.deepEqual(await world.value(rewrap(key, ciphertext)), { ciphertext, changed: false });
  t.deepEqual([world.upstream.count('wrap'), world.upstream.count('unwrap')], calls);
});

test('a newer version is wanted as soon as the upstream shows it; at once when its life is led here', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  world.upstream.describedVersions.set(uriOf('main'), ['1']);
  const { ciphertext } = await key.seal();
  t.false((await world.value(rewrap(key, ciphertext))).changed);
  world.upstream.versions.set(uriOf('main'), '2');
  world.upstream.describedVersions.set(uriOf('main'), ['1', '2']);
  t.false((await world.value(rewrap(key, ciphertext))).changed, 'asked a moment ago');
  await world.clock.advance(6_000);
  const { ciphertext: made, changed } = await world.value(rewrap(key, ciphertext));
  t.true(changed);
  t.deepEqual(
    blockOf(made).recipients.map(({ kekVersion }) => kekVersion),
    ['2'],
  );
  world.upstream.versions.set(uriOf('main'), '3');
  world.upstream.describedVersions.set(uriOf('main'), ['1', '2', '3']);
  world.keyrings.kekChanged('scripted', { uri: uriOf('main'), state: 'active', versions: [], labels: new Map() });
  t.is(blockOf((await world.value(rewrap(key, made))).ciphertext).recipients[0]?.kekVersion, '3');
});

test('another order, one recipient less, one more: changed', async (t) => {
  const world = makeWorld(t);
  const recipients = [
    ['a', 'authority'],
    ['b', 'authority'],
  ] as const;
  const { ciphertext } = await world.key({ recipients }).seal();
  const orders = [[recipients[1], recipients[0]], [recipients[0]], [...recipients, ['c', 'standby']]] as const;
  for (const wanted of orders) {
    const key = world.peer({ recipients: wanted, decryptWith: ['a', 'b'] });
    const { ciphertext: made, changed } = await world.value(rewrap(key, ciphertext));
    t.true(changed);
    t.deepEqual(
      blockOf(made).recipients.map(({ kekUri }) => kekUri),
      wanted.map(([kek]) => uriOf(kek)),
    );
  }
});

test('envelopes of one DEK get one new block with one round of calls, one after the other and at once', async (t) => {
  const world = makeWorld(t);
  const { ciphertext, key } = await migrated(world);
  const all = await Promise.all([1, 2, 3].map(() => world.value(rewrap(key, ciphertext))));
  all.push(await world.value(rewrap(key, ciphertext)));
  t.is(new Set(all.map(({ ciphertext: made }) => made.toString('hex'))).size, 1);
  t.is(world.upstream.count('wrap', uriOf('new')), 1);
  t.is(world.upstream.count('describe', uriOf('new')), 1);
});

const ACME = new Map([['tenant', 'acme']]);

test('what was rewrapped is not answered from memory after a flush of its partition', async (t) => {
  const world = makeWorld(t);
  const { ciphertext, key } = await migrated(world);
  await world.value(rewrap(key, ciphertext));
  key.ring.purgePartition(ACME);
  world.upstream.script({ operation: 'unwrap', kek: uriOf('main'), answer: refused('access') });
  t.is(await world.reason(() => rewrap(key, ciphertext)), 'UPSTREAM_REFUSED');
});

test('nor is what was being rewrapped at the flush, beyond its unwrap', async (t) => {
  const world = makeWorld(t);
  const { ciphertext, key } = await migrated(world);
  world.upstream.script({ operation: 'wrap', kek: uriOf('spare'), answer: { kind: 'ok', afterMs: 500 } });
  const underWay = rewrap(key, ciphertext);
  await world.clock.advance(100);
  key.ring.purgePartition(ACME);
  const unwraps = world.upstream.count('unwrap', uriOf('main'));
  await world.value(Promise.all([underWay, rewrap(key, ciphertext)]));
  t.is(world.upstream.count('unwrap', uriOf('main')), unwraps + 1);
  await world.value(rewrap(key, ciphertext));
  t.is(world.upstream.count('unwrap', uriOf('main')), unwraps + 1, 'what began after it is remembered');
});

for (const role of ['new', 'spare', 'escrow']) {
  test(`${role} gives no answer: an error, since the DEK must be wrapped for all`, async (t) => {
    const world = makeWorld(t);
    const { ciphertext, key } = await migrated(world);
    for (const answer of [UNREACHABLE, HANG]) {
      world.upstream.script({ operation: 'wrap', kek: uriOf(role), answer });
      t.is(await world.reason(() => rewrap(key, ciphertext)), 'UPSTREAM_UNAVAILABLE');
    }
    world.upstream.answer({ kind: 'ok' });
    await world.clock.advance(6_000);
    t.true((await world.value(rewrap(key, ciphertext))).changed);
  });
}

test('a wrap that opens to another key is not handed out', async (t) => {
  const world = makeWorld(t);
  const { ciphertext, key } = await migrated(world);
  world.upstream.script({ operation: 'unwrap', kek: uriOf('spare'), answer: OTHER_KEY });
  t.is(await world.reason(() => rewrap(key, ciphertext)), 'UPSTREAM_FAULT');
});

test('a refused wrap and a refused or invalid unwrap are remembered', async (t) => {
  const world = makeWorld(t);
  const { ciphertext, key } = await migrated(world);
  world.upstream.script({ operation: 'wrap', kek: uriOf('spare'), answer: refused('access') });
  t.is(await world.reason(() => rewrap(key, ciphertext)), 'UPSTREAM_REFUSED');
  const calls = world.upstream.count('wrap') + world.upstream.count('unwrap');
  t.is(await world.reason(() => rewrap(key, ciphertext)), 'UPSTREAM_REFUSED');
  t.is(world.upstream.count('wrap') + world.upstream.count('unwrap'), calls);
  const other = (await world.peer({ partitionBy: ['tenant'] }).seal({ tenant: 'other' })).ciphertext;
  world.upstream.script({ operation: 'unwrap', kek: uriOf('main'), answer: INVALID });
  t.is(await world.reason(() => rewrap(key, other)), 'INVALID_CIPHERTEXT');
  const unwraps = world.upstream.count('unwrap');
  t.is(await world.reason(() => rewrap(key, other)), 'INVALID_CIPHERTEXT');
  t.is(world.upstream.count('unwrap'), unwraps);
});

test('who may not describe a KEK may rewrap with it; an upstream that is out says so', async (t) => {
  const world = makeWorld(t);
  const { ciphertext, key } = await migrated(world);
  world.upstream.script({ operation: 'describe', answer: refused('access') });
  const { ciphertext: made } = await world.value(rewrap(key, ciphertext));
  t.false((await world.value(rewrap(key, made))).changed);
  await world.clock.advance(6_000);
  world.upstream.script({ operation: 'describe', answer: UNREACHABLE });
  t.is(await world.reason(() => rewrap(key, made)), 'UPSTREAM_UNAVAILABLE');
});

test('foreign KEKs: refused without a call; an altered block is not signed anew', async (t) => {
  const world = makeWorld(t);
  const { ciphertext } = await world.key({ recipients: [['foreign', 'authority']] }).seal();
  const key = world.peer();
  const calls = world.upstream.count();
  t.is(await world.reason(() => rewrap(key, ciphertext)), 'INVALID_CIPHERTEXT');
  t.is(world.upstream.count(), calls);
  const { ciphertext: good, key: migratedKey } = await migrated(world);
  const altered = Buffer.from(good);
  // A bit of the creation time, in a block that still parses.
  altered[HEADER_BYTES + 2 + 8]! ^= 1;
  t.is(await world.reason(() => rewrap(migratedKey, altered)), 'INVALID_CIPHERTEXT');
});

test('a key that is not active is not rewrapped; archived versions are what it is for', async (t) => {
  const world = makeWorld(t);
  const key = world.key();
  const { ciphertext } = await key.seal();
  world.upstream.versions.set(uriOf('main'), '2');
  world.upstream.describedVersions.set(uriOf('main'), ['1', '2']);
  const describe = (state: 'active' | 'archived' | 'disabled') =>
    world.keyrings.kekChanged('scripted', {
      uri: uriOf('main'),
      state,
      versions: [{ version: '1', state: 'archived', createdAt: 0 }],
      labels: new Map(),
    });
  for (const [state, reason] of [
    ['archived', 'KEY_ARCHIVED'],
    ['disabled', 'KEY_DISABLED'],
  ] as const) {
    describe(state);
    t.is(await world.reason(() => rewrap(key, ciphertext)), reason);
  }
  describe('active');
  const { ciphertext: made } = await world.value(rewrap(key, ciphertext));
  t.false((await world.value(key.decrypt(made))).dek.archived);
});

test('a caller who left hears CANCELLED; the work goes on for the next', async (t) => {
  const world = makeWorld(t);
  const { ciphertext, key } = await migrated(world);
  const control = new AbortController();
  control.abort();
  await t.throwsAsync(rewrap(key, ciphertext, control), { instanceOf: DekdError, message: /stopped waiting/ });
  t.true((await world.value(rewrap(key, ciphertext))).changed);
});
