import { existsSync, readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { createKey, freeKey } from '../../../src/crypto/native.ts';
import { LocalUpstream } from '../../../src/upstream/local/provider.ts';
import type { KekDescription } from '../../../src/upstream/provider.ts';
import { live } from '../../contract/upstream-context.ts';
import { fails } from '../../contract/upstream-contract.ts';
import { MovableClock } from '../../helpers/movable-clock.ts';
import { edit, makePlace, openPlace, openStore, type Place, runChild } from './fixture.ts';
import {
  CONTEXT,
  DAY_MS,
  HOUR_MS,
  MINUTE_MS,
  makeWorld,
  pass,
  reasonOf,
  restarted,
  scheduleDeletion,
  versionStates,
  type World,
} from './lifecycle-world.ts';

test('a KEK rotates by itself at its age, also when the agent was stopped meanwhile', async (t) => {
  const schedule = { rotateAfterMs: 30 * DAY_MS, maxVersions: undefined };
  const w = await makeWorld(t, { schedule });
  await pass(w.clock, 30 * DAY_MS - 2 * MINUTE_MS);
  t.is(w.changes.length, 0);
  await w.clock.advance(2 * MINUTE_MS);
  t.deepEqual(versionStates(w.changes[0]!), ['1 decrypt-only', '2 active']);
  await w.clock.advance(HOUR_MS);
  t.is(w.changes.length, 1, 'once');

  await w.upstream.close();
  w.clock.suspend(300 * DAY_MS);
  const upstream = await openPlace(t, { ...w.place.options, schedule, clock: w.clock });
  t.deepEqual(versionStates(await upstream.describe(w.kek, live())), ['1 decrypt-only', '2 active'], 'not in the way');
  await w.clock.advance(1000);
  const { versions } = await upstream.describe(w.kek, live());
  t.is(versions.length, 3, 'one, however long it was stopped');
  t.is(versions.at(-1)?.createdAt, w.clock.wallMs());
  await upstream.close();
  edit(w.place, (connection) => {
    const [row] = connection.prepare('SELECT changed_by FROM kek_version WHERE version = 3').all();
    t.is(row?.['changed_by'], 'rotation schedule');
  });
});

test('a KEK that is not active does not rotate by itself', async (t) => {
  const w = await makeWorld(t, { schedule: { rotateAfterMs: DAY_MS, maxVersions: undefined } });
  await w.upstream.changeKek(w.kek, 'disable', 'uid 2001');
  await pass(w.clock, 10 * DAY_MS);
  t.is((await w.upstream.describe(w.kek, live())).versions.length, 1);
  t.is(w.upstream.warnings.length, 1, 'and that is no failure');
  await w.upstream.changeKek(w.kek, 'enable', 'uid 2001');
  await pass(w.clock, 0);
  t.is((await w.upstream.describe(w.kek, live())).versions.length, 2);
});

test('an expired KEK decrypts only, and is not enabled before it has a later time', async (t) => {
  const place = makePlace(t);
  const clock = new MovableClock();
  const expiresAt = clock.wallMs() + 10 * DAY_MS;
  const keks = new Map([['orders', { expiresAt, rotateAfterMs: DAY_MS }]]);
  const upstream = await openPlace(t, { ...place.options, keks, clock });
  t.deepEqual(upstream.warnings.slice(1), ['keks names orders, and the store has no KEK of that name']);
  const { uri: kek } = await upstream.createKek('orders', new Map(), 'uid 2001');
  t.is(upstream.warnings.length, 1);
  const states: string[] = [];
  upstream.onKekChange = ({ state, expiresAt: shown }) => states.push(`${state} ${shown === expiresAt}`);
  const dek = createKey('dek');
  t.teardown(() => freeKey(dek));
  const wrapped = await upstream.wrap(kek, dek, CONTEXT, live());
  clock.suspend(10 * DAY_MS);
  // It is over, but nobody has looked yet: what is asked for is so already.
  t.is((await upstream.changeKek(kek, 'enable', 'uid 2001')).state, 'active');
  await pass(clock, 0);
  // Expiry stands before rotation: nothing is rotated that has expired.
  t.deepEqual(states, ['archived true']);
  const failure = await fails(t, upstream.wrap(kek, dek, CONTEXT, live()), 'refused', 'kek');
  t.is(failure?.condition, 'archived');
  freeKey(await upstream.unwrap(kek, wrapped, CONTEXT, live()));
  await t.throwsAsync(upstream.changeKek(kek, 'enable', 'uid 2001'), {
    name: 'DekdError',
    message: `KEK orders is archived: archived → active is not allowed; it expired at ${new Date(expiresAt).toISOString()}; set a later time before you enable it`,
  });
  await upstream.changeKek(kek, 'disable', 'uid 2001');
  t.is((await upstream.changeKek(kek, 'enable', 'uid 2001')).state, 'archived');

  const later = new Map([['orders', { expiresAt: expiresAt + 365 * DAY_MS }]]);
  const again = await restarted(t, { place, clock, upstream, kek, changes: [] }, { keks: later });
  await pass(clock, 0);
  t.is((await again.describe(kek, live())).state, 'archived');
  t.is((await again.changeKek(kek, 'enable', 'uid 2001')).state, 'active');
});

test('a KEK that was disabled when it expired is enabled into archived', async (t) => {
  const clock = new MovableClock();
  const keks = new Map([['orders', { expiresAt: clock.wallMs() + DAY_MS }]]);
  const upstream = await openPlace(t, { ...makePlace(t).options, keks, clock });
  const { uri: kek } = await upstream.createKek('orders', new Map(), 'uid 2001');
  await upstream.changeKek(kek, 'disable', 'uid 2001');
  await pass(clock, 2 * DAY_MS);
  t.is((await upstream.describe(kek, live())).state, 'disabled');
  t.is((await upstream.changeKek(kek, 'enable', 'uid 2001')).state, 'archived');
});

test('two custodians destroy a KEK: it refuses, waits, and its key is gone from memory, file and journal', async (t) => {
  const w = await makeWorld(t);
  await w.upstream.rotateKek(w.kek, 'uid 2001');
  await w.upstream.close();
  const keys: Buffer[] = [];
  edit(w.place, (connection) => {
    const rows = connection.prepare('SELECT wrapped_key FROM kek_version').all();
    keys.push(...rows.map((row) => Buffer.from(row['wrapped_key'] as Uint8Array)));
  });
  t.is(keys.length, 2);
  for (const key of keys) t.deepEqual(foundIn(w.place, key), [w.place.database]);
  const upstream = await openPlace(t, { ...w.place.options, clock: w.clock });
  upstream.onKekChange = (description) => w.changes.push(description);
  await destroys(t, { ...w, upstream }, keys);
});

async function destroys(t: ExecutionContext, w: World, keys: readonly Buffer[]): Promise<void> {
  const dek = createKey('dek');
  t.teardown(() => freeKey(dek));
  const wrapped = await w.upstream.wrap(w.kek, dek, CONTEXT, live());
  const pending = await scheduleDeletion(w);
  t.is(pending.state, 'pending-deletion');
  t.deepEqual(pending.deletion, {
    requestedBy: ['uid 2001', 'uid 2002'],
    waitingPeriodMs: 7 * DAY_MS,
    at: w.clock.wallMs() + 7 * DAY_MS,
  });
  for (const call of [
    w.upstream.wrap(w.kek, dek, CONTEXT, live()),
    w.upstream.unwrap(w.kek, wrapped, CONTEXT, live()),
  ]) {
    t.is((await fails(t, call, 'refused', 'kek'))?.condition, 'pending-deletion');
  }
  await w.clock.advance(MINUTE_MS);
  await pass(w.clock, 7 * DAY_MS - 3 * MINUTE_MS);
  t.is((await w.upstream.describe(w.kek, live())).state, 'pending-deletion');
  await w.clock.advance(2 * MINUTE_MS);
  const destroyed = w.changes.at(-1)!;
  t.is(destroyed.state, 'destroyed');
  t.is(destroyed.deletion, undefined);
  const destroyedAt = destroyed.versions[0]!.destroyedAt!;
  t.true(Math.abs(destroyedAt - pending.deletion!.at!) <= 2 * MINUTE_MS);
  for (const version of destroyed.versions) {
    t.like(version, { state: 'destroyed', destroyedAt, destroyedBy: 'uid 2001, uid 2002' });
  }
  for (const key of keys) t.deepEqual(foundIn(w.place, key), []);
  t.is((await fails(t, w.upstream.unwrap(w.kek, wrapped, CONTEXT, live()), 'refused', 'kek'))?.condition, 'destroyed');
  for (const call of [
    w.upstream.rotateKek(w.kek, 'uid 2001'),
    w.upstream.changeKek(w.kek, 'enable', 'uid 2001'),
    w.upstream.cancelKekDeletion(w.kek, 'uid 2001'),
    w.upstream.changePartition(w.kek, 'orders', new Map([['tenant', 'acme']]), 'disable', 'uid 2001'),
    scheduleDeletion(w),
  ]) {
    t.is(await reasonOf(t, call), 'KEY_DESTROYED');
  }
  t.is(await reasonOf(t, w.upstream.createKek('orders', new Map(), 'uid 2001')), 'KEY_EXISTS');
  const backup = await w.upstream.backup();
  for (const key of keys) t.false(backup.includes(key));

  const again = await restarted(t, w);
  t.deepEqual(await again.describe(w.kek, live()), destroyed);
  for (const key of keys) t.deepEqual(foundIn(w.place, key), []);
}

function foundIn(place: Place, key: Buffer): string[] {
  const files = [place.database, `${place.database}-journal`].filter(existsSync);
  return files.filter((file) => readFileSync(file).includes(key));
}

test('a destroyed KEK gives its slot back', (t) => {
  // Two keys of the store, the DEK and the KEK; then without the KEK.
  t.deepEqual(runChild('destroy', makePlace(t).options), { before: 4, after: 3 });
});

test('a wall clock that jumps 40 days ahead destroys nothing', async (t) => {
  const w = await makeWorld(t);
  await scheduleDeletion(w);
  await w.clock.advance(MINUTE_MS);
  w.clock.stepWall(40 * DAY_MS);
  await w.clock.advance(2 * HOUR_MS);
  t.is((await w.upstream.describe(w.kek, live())).state, 'pending-deletion');

  // An agent that starts with that clock cannot know; it waits for an hour.
  const again = await restarted(t, w);
  await w.clock.advance(59 * MINUTE_MS);
  t.is((await again.describe(w.kek, live())).state, 'pending-deletion');
  w.clock.stepWall(-40 * DAY_MS);
  await w.clock.advance(2 * HOUR_MS);
  t.is((await again.describe(w.kek, live())).state, 'pending-deletion');
});

test('a destruction that fell due while the agent was stopped takes place an hour after its start', async (t) => {
  const w = await makeWorld(t);
  await scheduleDeletion(w);
  await w.upstream.close();
  w.clock.suspend(30 * DAY_MS);
  const again = await openPlace(t, { ...w.place.options, clock: w.clock });
  await w.clock.advance(HOUR_MS);
  t.is((await again.describe(w.kek, live())).state, 'pending-deletion');
  await w.clock.advance(2 * MINUTE_MS);
  t.is((await again.describe(w.kek, live())).state, 'destroyed');
});

test('a disk that takes nothing: a call fails and changes nothing, what is due is tried again each minute', async (t) => {
  const place = makePlace(t);
  const clock = new MovableClock();
  const { store, database, keys } = openStore(t, place);
  const warnings: string[] = [];
  const schedule = { rotateAfterMs: DAY_MS, maxVersions: undefined };
  const options = { ...place.options, schedule, clock, onWarning: (warning: string) => warnings.push(warning) };
  const upstream = new LocalUpstream(options, store, keys, false);
  const { uri: kek } = await upstream.createKek('orders', new Map(), 'uid 2001');
  const changes: KekDescription[] = [];
  upstream.onKekChange = (description) => changes.push(description);
  const dek = createKey('dek');
  t.teardown(() => freeKey(dek));
  const { connection } = database;
  const exec = connection.exec.bind(connection);
  connection.exec = (sql) => {
    if (sql !== 'COMMIT') return exec(sql);
    throw Object.assign(new Error('database or disk is full'), { code: 'ERR_SQLITE_ERROR', errcode: 13 });
  };
  const failure = await fails(t, upstream.changeKek(kek, 'disable', 'uid 2001'), 'unreachable');
  t.regex(failure?.message ?? '', /^keystore \S+: nothing was changed: the disk is full; free some space/);
  t.is((await upstream.describe(kek, live())).state, 'active');
  await upstream.wrap(kek, dek, CONTEXT, live());

  await pass(clock, DAY_MS);
  await clock.advance(10 * MINUTE_MS);
  t.is(warnings.length, 1, 'said once');
  t.regex(
    warnings[0]!,
    /^the rotation of KEK orders is due and failed, tried again every minute: keystore \S+: nothing was changed: the disk is full/,
  );
  t.deepEqual(upstream.warnings, warnings);
  t.is((await upstream.describe(kek, live())).versions.length, 1);
  t.is(changes.length, 0);
  connection.exec = exec;
  await clock.advance(MINUTE_MS);
  t.deepEqual(versionStates(changes[0]!), ['1 decrypt-only', '2 active']);
  t.deepEqual(upstream.warnings, []);
});
