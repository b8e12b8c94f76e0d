import { randomFillSync } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { parseEnvelope } from '../../src/crypto/envelope.ts';
import { DekdError } from '../../src/errors.ts';
import { CallDeks } from '../../src/keyring/call-deks.ts';
import type { Dek } from '../../src/keyring/dek.ts';
import { OK, refused, THROTTLED, UNAUTHENTICATED, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { attempt, contextOf, MINUTE, makeWorld, SECOND, type TestKey, type World, waiterOf } from './world.ts';

const PER_PRINCIPAL = { perSecond: 10, burst: 20 };
const PER_KEY = { perSecond: 15, burst: 30 };
const LIMITS = { perPrincipal: PER_PRINCIPAL, perKey: PER_KEY };
const TENANTS = { partitionBy: ['tenant'] };

/** A world whose upstream is paid for. */
function paidWorld(t: ExecutionContext, limits = LIMITS): World {
  return makeWorld(t, limits, 'vault-transit');
}

function encrypt(key: TestKey, tenant: string, uid = 1000): unknown {
  return key.ring.encrypt(contextOf({ tenant }), 1, (dek) => dek, waiterOf(undefined, uid));
}

function decrypt(key: TestKey, ciphertext: Buffer, uid = 1000): unknown {
  const located = key.world.keyrings.locate(parseEnvelope(ciphertext));
  return key.ring.decrypt(located, contextOf({ tenant: 'acme' }), (dek: Dek) => dek, waiterOf(undefined, uid));
}

/** The reasons for which so many misses fail, one after the other, without a moment between them. */
async function reasons(world: World, count: number, call: (at: number) => unknown): Promise<string[]> {
  const all: string[] = [];
  for (let at = 0; at < count; at++) all.push(await world.reason(() => call(at)));
  return all;
}

function times(counts: Readonly<Record<string, number>>): string[] {
  return Object.entries(counts).flatMap(([reason, count]) => Array<string>(count).fill(reason));
}

/** Well-formed, of the configured KEK, and nobody's. */
function forge(ciphertext: Buffer): Buffer {
  const forged = Buffer.from(ciphertext);
  randomFillSync(forged, 8, 32);
  return forged;
}

/** A ciphertext of tenant acme that this agent does not know, from another one. */
async function foreign(world: World, setup = {}): Promise<Buffer> {
  const writer = world.peer({ ...TENANTS, ...setup });
  const { ciphertext } = await writer.seal({ tenant: 'acme' });
  writer.world.keyrings.close();
  return ciphertext;
}

test('10,000 unknown blocks of one caller cost its quota and not a call more; another caller’s miss works', async (t) => {
  const world = paidWorld(t);
  const key = world.key(TENANTS);
  const ciphertext = await foreign(world);
  const calls = world.upstream.count();
  const ended = await reasons(world, 10_000, () => decrypt(key, forge(ciphertext)));
  t.deepEqual(ended, times({ INVALID_CIPHERTEXT: 20, QUOTA_EXCEEDED: 9_980 }));
  t.is(world.upstream.count(), calls + 20);
  t.is(key.ring.counters.quota_refused, 9_980);
  t.is(await world.reason(() => decrypt(key, ciphertext, 1001)), 'none');
  t.is(await world.reason(() => decrypt(key, ciphertext)), 'none', 'a hit costs nothing');
  await world.clock.advance(1_000);
  t.deepEqual(
    await reasons(world, 12, () => decrypt(key, forge(ciphertext))),
    times({ INVALID_CIPHERTEXT: 10, QUOTA_EXCEEDED: 2 }),
  );
});

test('a miss that finds no room on its way to the upstream is paid for, or its caller would keep others out of it', async (t) => {
  const world = paidWorld(t);
  const key = world.key(TENANTS);
  const ciphertext = await foreign(world);
  const full = new DekdError('QUOTA_EXCEEDED', 'no room');
  world.upstream.answer({ kind: 'throw', thrown: full });
  const calls = world.upstream.count();
  await reasons(world, 100, () => decrypt(key, forge(ciphertext)));
  t.is(world.upstream.count(), calls + 20);
  world.upstream.answer(OK);
  t.is(await world.reason(() => decrypt(key, ciphertext, 1001)), 'none');
});

test('a new DEK costs its wraps and the unwraps that prove them', async (t) => {
  const world = paidWorld(t);
  const key = world.key({
    ...TENANTS,
    recipients: [
      ['main', 'authority'],
      ['spare', 'standby'],
      ['escrow', 'recovery'],
    ],
  });
  t.deepEqual(await reasons(world, 6, (at) => encrypt(key, `t${at}`)), times({ none: 4, QUOTA_EXCEEDED: 2 }));
  t.is(world.upstream.count(), 20);
});

test('the error names who, limit, setting, and when it may be tried again', async (t) => {
  const world = paidWorld(t);
  const key = world.key(TENANTS);
  await reasons(world, 10, (at) => encrypt(key, `t${at}`));
  const mine = await world.outcome(attempt(() => encrypt(key, 'mine')));
  t.true('error' in mine);
  if (!('error' in mine)) return;
  t.is(mine.error.reason, 'QUOTA_EXCEEDED');
  t.is(
    mine.error.message,
    'key orders: uid 1000 may cause 10 upstream calls a second, 20 at once, and did; try again later, or raise limits.upstream_calls.per_principal',
  );
  t.deepEqual(mine.error.metadata, { key: 'orders', setting: 'limits.upstream_calls.per_principal' });
  t.is(mine.error.retryAfterMs, 200);
  await reasons(world, 5, (at) => encrypt(key, `u${at}`, 1001));
  const theirs = await world.outcome(attempt(() => encrypt(key, 'theirs', 1001)));
  t.true('error' in theirs);
  if (!('error' in theirs)) return;
  t.is(
    theirs.error.message,
    'key orders: its callers together may cause 15 upstream calls a second, 30 at once, and did; try again later, or raise limits.upstream_calls.per_key',
  );
  t.is(await world.reason(() => encrypt(world.key({ ...TENANTS, name: 'carts' }), 'theirs', 1001)), 'none');
});

test('who joins a miss pays nothing, and who could not pay for one hurts nobody that can', async (t) => {
  const world = paidWorld(t);
  const key = world.key(TENANTS);
  const ciphertext = await foreign(world);
  await reasons(world, 10, (at) => encrypt(key, `t${at}`));
  const calls = world.upstream.count();
  const poor = () => decrypt(key, ciphertext);
  const rich = () => decrypt(key, ciphertext, 1001);
  const ended = await Promise.all([poor, rich, poor, rich].map((call) => world.reason(call)));
  t.deepEqual(ended, ['QUOTA_EXCEEDED', 'none', 'none', 'none']);
  const writes = [1000, 1001, 1000].map((uid) => world.reason(() => encrypt(key, 'new', uid)));
  t.deepEqual(await Promise.all(writes), ['QUOTA_EXCEEDED', 'none', 'none']);
  t.is(world.upstream.count(), calls + 3);
});

test('of a failover only the calls that were made are paid for', async (t) => {
  const world = paidWorld(t);
  const both = {
    recipients: [
      ['main', 'authority'],
      ['spare', 'standby'],
    ],
  } as const;
  const key = world.key({ ...TENANTS, ...both });
  const ciphertexts = await Promise.all(Array.from({ length: 21 }, () => foreign(world, both)));
  const calls = world.upstream.count();
  const ended = await reasons(world, 21, (at) => decrypt(key, ciphertexts[at]!));
  // The last two could have cost four calls; one was left.
  t.deepEqual(ended, times({ none: 19, QUOTA_EXCEEDED: 2 }));
  t.is(world.upstream.count(), calls + 19);
});

test('refreshes, rotation, warming and confirmations cost nothing', async (t) => {
  const world = paidWorld(t, { perPrincipal: { perSecond: 1, burst: 2 }, perKey: { perSecond: 1, burst: 2 } });
  const key = world.key({ ...TENANTS, cache: { ttlMs: 2 * SECOND, rotateAfterMs: MINUTE } });
  await world.value(encrypt(key, 'acme'));
  for (let second = 0; second < 200; second++) {
    await world.clock.advance(SECOND);
    await world.value(encrypt(key, 'acme'));
  }
  t.true(key.ring.counters.rotations >= 3);
  t.true(world.upstream.count() > 100);
  await world.value(key.ring.rotate());
  await world.value(key.ring.warm(contextOf({ tenant: 'other' })));
  world.upstream.answer(refused('kek', 'disabled'));
  await world.clock.advance(MINUTE);
  t.is(await world.reason(() => encrypt(key, 'acme')), 'KEY_DISABLED');
  t.is(key.ring.counters.quota_refused, 0);
});

test('an upstream in this process costs nothing', async (t) => {
  const world = makeWorld(t, { perPrincipal: { perSecond: 1, burst: 1 }, perKey: { perSecond: 1, burst: 1 } });
  const key = world.key(TENANTS);
  t.deepEqual(await reasons(world, 50, (at) => encrypt(key, `t${at}`)), times({ none: 50 }));
});

for (const mode of ['none', 'request'] as const) {
  test(`mode ${mode}: each ${mode === 'none' ? 'operation' : 'request'} is paid for, and the error says so`, async (t) => {
    const world = paidWorld(t);
    const key = world.key({ cache: { mode, verifyWrap: false } });
    const { ciphertext } = await key.seal();
    const ended = await reasons(world, 25, (at) => (at % 2 === 0 ? key.encrypt() : key.decrypt(ciphertext)));
    t.deepEqual(ended, times({ none: 19, QUOTA_EXCEEDED: 6 }));
    t.is(world.upstream.count(), 20);
    const outcome = await world.outcome(attempt(() => key.encrypt()));
    t.regex('error' in outcome ? outcome.error.message : '', new RegExp(`cache mode ${mode} makes calls for each`));
  });
}

test('mode request: all items of a call that take the same DEK are one miss', async (t) => {
  const world = paidWorld(t, { perPrincipal: { perSecond: 1, burst: 2 }, perKey: PER_KEY });
  const key = world.key({ cache: { mode: 'request', verifyWrap: false } });
  const deks = new CallDeks();
  const items = Array.from({ length: 50 }, () => key.ring.encrypt(new Map(), 1, () => 'sealed', waiterOf(), deks));
  t.deepEqual(new Set(await Promise.all(items)), new Set(['sealed']));
  deks.release();
  t.is(world.upstream.count(), 1);
});

test('a dry run pays for what it asks', async (t) => {
  const world = paidWorld(t);
  const key = world.key();
  const ended = await reasons(world, 25, () => key.ring.checkState(new Map(), waiterOf()));
  t.deepEqual(ended, times({ none: 20, QUOTA_EXCEEDED: 5 }));
  t.is(world.upstream.count(), 20);
});

test('descriptions for an administrator in a loop leave half of what they may cost to misses', async (t) => {
  const world = paidWorld(t);
  const key = world.key({
    ...TENANTS,
    cache: { verifyWrap: false },
    recipients: [
      ['main', 'authority'],
      ['escrow', 'recovery'],
    ],
    decryptWith: ['old'],
  });
  const { signal } = new AbortController();
  const describe = (uid: number): Promise<unknown> =>
    key.ring.payForDescriptions({ uid }, () =>
      Promise.all(['main', 'old'].map((name) => world.kek(name).describe(signal))),
    );
  t.deepEqual(await reasons(world, 50, () => describe(2001)), times({ none: 5, QUOTA_EXCEEDED: 45 }));
  t.is(world.upstream.count('describe'), 10, 'half of its own 20');
  t.deepEqual(await reasons(world, 50, () => describe(2003)), times({ none: 2, QUOTA_EXCEEDED: 48 }));
  t.is(world.upstream.count('describe'), 14, 'half of the 30 of the key');
  t.deepEqual(await reasons(world, 9, (at) => encrypt(key, `t${at}`)), times({ none: 8, QUOTA_EXCEEDED: 1 }));
  const outcome = await world.outcome(attempt(() => describe(2003)));
  t.regex('error' in outcome ? outcome.error.message : '', /^key orders: .* descriptions leave half of that to calls/);
  await world.clock.advance(MINUTE);
  t.is(await world.reason(() => describe(2001)), 'none');
});

test('descriptions at an upstream in this process cost nothing', async (t) => {
  const world = makeWorld(t, { perPrincipal: { perSecond: 1, burst: 1 }, perKey: { perSecond: 1, burst: 1 } });
  const key = world.key();
  const describe = () => key.ring.payForDescriptions({ uid: 1 }, async () => 'described');
  t.deepEqual(await reasons(world, 50, describe), times({ none: 50 }));
});

test('a rewrap pays for its unwrap, its wraps and their proof; what is remembered costs nothing', async (t) => {
  const world = paidWorld(t);
  const key = world.key({ ...TENANTS, recipients: [['new', 'authority']], decryptWith: ['main'] });
  const ciphertexts = await Promise.all(Array.from({ length: 7 }, () => foreign(world)));
  const rewrap = (ciphertext: Buffer) => {
    const { envelope } = world.keyrings.locate(parseEnvelope(ciphertext));
    return key.ring.rewrapper.rewrap(envelope, waiterOf());
  };
  const calls = world.upstream.count('wrap') + world.upstream.count('unwrap');
  const ended = await reasons(world, 7, (at) => rewrap(ciphertexts[at]!));
  t.deepEqual(ended, times({ none: 6, QUOTA_EXCEEDED: 1 }));
  t.is(world.upstream.count('wrap') + world.upstream.count('unwrap'), calls + 18);
  t.is(await world.reason(() => rewrap(ciphertexts[0]!)), 'none');
});

test('what is remembered of a block costs nothing', async (t) => {
  const world = paidWorld(t);
  const key = world.key(TENANTS);
  const forged = forge(await foreign(world));
  t.deepEqual(await reasons(world, 100, () => decrypt(key, forged)), times({ INVALID_CIPHERTEXT: 100 }));
  world.upstream.answer(refused('access'));
  t.deepEqual(await reasons(world, 100, () => encrypt(key, 'acme')), times({ UPSTREAM_REFUSED: 100 }));
  t.is(key.ring.counters.quota_refused, 0);
});

for (const [answer, reason] of [
  [UNREACHABLE, 'UPSTREAM_UNAVAILABLE'],
  [THROTTLED, 'UPSTREAM_THROTTLED'],
] as const) {
  test(`${reason}: what got no answer costs nothing, so that all is left when it is over`, async (t) => {
    const world = paidWorld(t);
    const key = world.key(TENANTS);
    world.upstream.answer(answer);
    t.deepEqual(await reasons(world, 100, (at) => encrypt(key, `t${at}`)), times({ [reason]: 100 }));
    world.upstream.answer(OK);
    t.deepEqual(await reasons(world, 11, (at) => encrypt(key, `u${at}`)), times({ none: 10, QUOTA_EXCEEDED: 1 }));
  });
}

test('in an outage who has used up its quota hears of the outage, without a call', async (t) => {
  const world = paidWorld(t);
  const key = world.key(TENANTS);
  await reasons(world, 10, (at) => encrypt(key, `t${at}`));
  t.is(await world.reason(() => encrypt(key, 'more')), 'QUOTA_EXCEEDED');
  world.upstream.answer(UNREACHABLE);
  t.is(await world.reason(() => encrypt(key, 'others', 1001)), 'UPSTREAM_UNAVAILABLE');
  const calls = world.upstream.count();
  t.is(await world.reason(() => encrypt(key, 'more')), 'UPSTREAM_UNAVAILABLE');
  t.is(world.upstream.count(), calls);
});

test('unauthenticated is an answer: it is paid for, and what is beyond hears the same', async (t) => {
  const world = paidWorld(t);
  const key = world.key({ ...TENANTS, cache: { verifyWrap: false } });
  world.upstream.answer(UNAUTHENTICATED);
  const ended = await reasons(world, 100, (at) => encrypt(key, `t${at}`));
  t.deepEqual(ended, times({ UPSTREAM_UNAUTHENTICATED: 100 }));
  t.is(world.upstream.count(), 20);
});

test('while one recipient answers, calls are paid for though the other is out', async (t) => {
  const world = paidWorld(t);
  const key = world.key({
    ...TENANTS,
    cache: { verifyWrap: false },
    recipients: [
      ['main', 'authority'],
      ['spare', 'standby'],
    ],
  });
  world.upstream.answer(UNREACHABLE, { kek: world.kek('spare').uri });
  await reasons(world, 100, (at) => encrypt(key, `t${at}`));
  t.true(world.upstream.count('wrap', world.kek('main').uri) <= PER_PRINCIPAL.burst / 2);
  t.true(key.ring.counters.quota_refused > 0);
});
