import test, { type ExecutionContext } from 'ava';
import { createKey, dekId, freeKey } from '../../../src/crypto/native.ts';
import { KekKeys } from '../../../src/upstream/local/kek-keys.ts';
import { Lifecycle } from '../../../src/upstream/local/lifecycle.ts';
import { canonicalPairs } from '../../../src/upstream/local/partitions.ts';
import { LocalUpstream } from '../../../src/upstream/local/provider.ts';
import type { KekDescription } from '../../../src/upstream/provider.ts';
import { live, wrapContext } from '../../contract/upstream-context.ts';
import { fails } from '../../contract/upstream-contract.ts';
import { MovableClock } from '../../helpers/movable-clock.ts';
import { edit, makePlace, openStore } from './fixture.ts';
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
} from './lifecycle-world.ts';

test('a KEK is disabled, enabled and archived, and is that after a restart', async (t) => {
  const w = await makeWorld(t);
  const steps = [
    ['disable', 'disabled'],
    ['enable', 'active'],
    ['archive', 'archived'],
    ['disable', 'disabled'],
    ['enable', 'archived'],
    ['enable', 'active'],
    ['archive', 'archived'],
  ] as const;
  for (const [change, state] of steps) {
    t.is((await w.upstream.changeKek('local:orders', change, 'uid 2001')).state, state);
    t.is(w.changes.at(-1)?.state, state);
  }
  t.is(w.changes.length, steps.length);
  t.is((await w.upstream.changeKek(w.kek, 'archive', 'uid 2001')).state, 'archived');
  t.is(w.changes.length, steps.length, 'nothing happened, so nobody is told');
  const again = await restarted(t, w);
  t.is((await again.describe(w.kek, live())).state, 'archived');
  t.is((await again.changeKek(w.kek, 'enable', 'uid 2001')).state, 'active');
});

test('who made a version and who changed a state, and when, is in the records and in what callers see', async (t) => {
  const w = await makeWorld(t);
  const createdAt = w.clock.wallMs();
  w.clock.stepWall(5);
  await w.upstream.rotateKek(w.kek, 'uid 2002');
  w.clock.stepWall(5);
  const described = await w.upstream.changeKek(w.kek, 'disable', 'uid 2003');
  t.like(described, { stateChangedAt: createdAt + 10, stateChangedBy: 'uid 2003' });
  t.like(described.versions, [
    { version: '1', state: 'decrypt-only', createdAt, createdBy: 'uid 2001' },
    { version: '2', state: 'active', createdAt: createdAt + 5, createdBy: 'uid 2002' },
  ]);
  await w.upstream.close();
  edit(w.place, (connection) => {
    const kek = { ...connection.prepare('SELECT created_at, changed_at, changed_by, state_before FROM kek').get() };
    const changed = { changed_at: createdAt + 10, changed_by: 'uid 2003' };
    t.deepEqual(kek, { created_at: createdAt, ...changed, state_before: 'active' });
    const versions = connection.prepare('SELECT version, created_by, changed_at, changed_by FROM kek_version').all();
    t.deepEqual(
      versions.map((row) => ({ ...row })),
      [
        { version: 1, created_by: 'uid 2001', changed_at: createdAt + 5, changed_by: 'uid 2002' },
        { version: 2, created_by: 'uid 2002', changed_at: createdAt + 5, changed_by: 'uid 2002' },
      ],
    );
  });
});

test('a transition that is not allowed says where from, where to and the way out, and changes nothing', async (t) => {
  const w = await makeWorld(t);
  await w.upstream.changeKek(w.kek, 'disable', 'uid 2001');
  await t.throwsAsync(w.upstream.changeKek(w.kek, 'archive', 'uid 2001'), {
    name: 'DekdError',
    message: 'KEK orders is disabled: disabled → archived is not allowed; enable it first',
  });
  t.is(await reasonOf(t, w.upstream.rotateKek(w.kek, 'uid 2001')), 'KEY_DISABLED');
  t.is((await w.upstream.describe(w.kek, live())).state, 'disabled');
  t.is(w.changes.length, 1);
  for (const call of [
    w.upstream.changeKek('local:nobody', 'disable', 'uid 2001'),
    w.upstream.cancelKekDeletion('local:nobody', 'uid 2001'),
    w.upstream.changePartition('local:nobody', 'orders', new Map([['tenant', 'acme']]), 'disable', 'uid 2001'),
  ]) {
    t.is(await reasonOf(t, call), 'KEY_NOT_FOUND');
  }
});

test('rotation beyond max_versions archives the oldest; it still unwraps and is never destroyed', async (t) => {
  const keks = new Map([['orders', { maxVersions: 2 }]]);
  const w = await makeWorld(t, { schedule: { rotateAfterMs: undefined, maxVersions: 9 }, keks });
  const dek = createKey('dek');
  t.teardown(() => freeKey(dek));
  const wrapped = await w.upstream.wrap(w.kek, dek, CONTEXT, live());
  await w.upstream.rotateKek(w.kek, 'uid 2001');
  t.deepEqual(versionStates(await w.upstream.rotateKek(w.kek, 'uid 2001')), [
    '1 archived',
    '2 decrypt-only',
    '3 active',
  ]);
  t.deepEqual(versionStates(w.changes.at(-1)!), ['1 archived', '2 decrypt-only', '3 active']);
  const again = await w.upstream.unwrap(w.kek, wrapped, CONTEXT, live());
  t.deepEqual(dekId(again), dekId(dek));
  freeKey(again);
  for (let rotation = 0; rotation < 20; rotation++) await w.upstream.rotateKek(w.kek, 'uid 2001');
  const { versions } = await w.upstream.describe(w.kek, live());
  t.is(versions.filter(({ state }) => state === 'archived').length, 21);
  freeKey(await w.upstream.unwrap(w.kek, wrapped, CONTEXT, live()));
});

test('a request of one custodian survives a restart and lapses after 24 hours', async (t) => {
  const w = await makeWorld(t);
  const request = { waitingPeriodMs: 30 * DAY_MS, custodians: 2 };
  const asked = await w.upstream.scheduleKekDeletion(w.kek, { ...request, by: 'uid 2001' });
  t.is(asked.state, 'active');
  t.deepEqual(asked.deletion, { requestedBy: ['uid 2001'], waitingPeriodMs: 30 * DAY_MS, at: undefined });
  t.is(w.changes.length, 1);
  await w.upstream.scheduleKekDeletion(w.kek, { ...request, by: 'uid 2001' });
  t.is(w.changes.length, 1);

  const again = await restarted(t, w);
  t.deepEqual((await again.describe(w.kek, live())).deletion, asked.deletion);
  await t.throwsAsync(again.scheduleKekDeletion(w.kek, { ...request, waitingPeriodMs: 7 * DAY_MS, by: 'uid 2002' }), {
    name: 'DekdError',
    message: /^waiting_period: is 7 days, but uid 2001 asked to delete KEK orders after 30 days/,
  });
  w.clock.suspend(24 * HOUR_MS);
  // Before the agent has looked as well.
  t.is((await again.describe(w.kek, live())).deletion, undefined);
  const changes: KekDescription[] = [];
  again.onKekChange = (description) => changes.push(description);
  await w.clock.advance(MINUTE_MS);
  t.is(changes.length, 1);
  const second = await again.scheduleKekDeletion(w.kek, { ...request, by: 'uid 2002' });
  t.is(second.state, 'active');
  t.deepEqual(second.deletion?.requestedBy, ['uid 2002']);
  t.is(
    await reasonOf(t, again.scheduleKekDeletion(w.kek, { by: 'uid 1', waitingPeriodMs: DAY_MS, custodians: 2 })),
    'INVALID_REQUEST',
  );
});

test('a cancelled deletion leaves a disabled KEK with its key', async (t) => {
  const w = await makeWorld(t);
  const dek = createKey('dek');
  t.teardown(() => freeKey(dek));
  const wrapped = await w.upstream.wrap(w.kek, dek, CONTEXT, live());
  await scheduleDeletion(w);
  const again = await restarted(t, w);
  await pass(w.clock, 6 * DAY_MS);
  const cancelled = await again.cancelKekDeletion(w.kek, 'uid 2003');
  t.is(cancelled.state, 'disabled');
  t.is(cancelled.deletion, undefined);
  await pass(w.clock, 300 * DAY_MS);
  t.is((await again.changeKek(w.kek, 'enable', 'uid 2003')).state, 'active');
  freeKey(await again.unwrap(w.kek, wrapped, CONTEXT, live()));
  t.is((await again.cancelKekDeletion(w.kek, 'uid 2003')).state, 'active', 'nothing to cancel, nothing done');
});

test('a disabled partition refuses its DEKs under that KEK and no others, also after a restart', async (t) => {
  const w = await makeWorld(t);
  const { uri: otherKek } = await w.upstream.createKek('carts', new Map(), 'uid 2001');
  const dek = createKey('dek');
  t.teardown(() => freeKey(dek));
  const others = [
    wrapContext({ 'dekd:key': 'orders', 'dekd:id': '01', tenant: 'umbrella' }),
    wrapContext({ 'dekd:key': 'carts', 'dekd:id': '01', tenant: 'acme' }),
    wrapContext({ 'dekd:key': 'orders', 'dekd:id': '01' }),
    wrapContext({ 'dekd:key': 'orders', 'dekd:id': '01', tenant: 'acme', region: 'eu' }),
  ];
  const wrapped = await w.upstream.wrap(w.kek, dek, CONTEXT, live());
  const partition = new Map([['tenant', 'acme']]);
  await w.upstream.changePartition('local:orders', 'orders', partition, 'disable', 'uid 2001');
  await w.upstream.changePartition(w.kek, 'orders', partition, 'disable', 'uid 2001');

  const again = await restarted(t, w);
  const withId = wrapContext({ 'dekd:key': 'orders', 'dekd:id': '02', tenant: 'acme' });
  for (const call of [
    again.wrap(w.kek, dek, CONTEXT, live()),
    again.wrap(w.kek, dek, withId, live()),
    again.unwrap(w.kek, wrapped, CONTEXT, live()),
  ]) {
    const failure = await fails(t, call, 'refused', 'access');
    t.is(failure?.condition, 'disabled');
    t.is(failure?.message, `this partition of key orders is disabled under KEK ${w.kek}`);
  }
  for (const context of others) await again.wrap(w.kek, dek, context, live());
  await again.wrap(otherKek, dek, CONTEXT, live());

  await again.changePartition(w.kek, 'orders', partition, 'enable', 'uid 2002');
  await again.changePartition(w.kek, 'orders', partition, 'enable', 'uid 2002');
  freeKey(await again.unwrap(w.kek, wrapped, CONTEXT, live()));
  t.is(await reasonOf(t, again.changePartition(w.kek, 'orders', new Map(), 'disable', 'uid 1')), 'INVALID_REQUEST');
});

test('a closed upstream changes nothing and looks at nothing', async (t) => {
  const w = await makeWorld(t, { schedule: { rotateAfterMs: DAY_MS, maxVersions: undefined } });
  await w.upstream.close();
  t.is(w.clock.timers, 0);
  await pass(w.clock, 2 * DAY_MS);
  t.is(w.changes.length, 0);
  for (const call of [
    w.upstream.changeKek(w.kek, 'disable', 'uid 2001'),
    scheduleDeletion(w),
    w.upstream.cancelKekDeletion(w.kek, 'uid 2001'),
    w.upstream.changePartition(w.kek, 'orders', new Map([['tenant', 'acme']]), 'disable', 'uid 2001'),
    w.upstream.backup(),
    w.upstream.listKeks(),
  ]) {
    await fails(t, call, 'unreachable');
  }
});

test('a store takes 10,000 disabled partitions, and 1,000 more of each key whatever others have', async (t) => {
  const place = makePlace(t);
  const { store, keys } = openStore(t, place);
  const upstream = new LocalUpstream(place.options, store, keys, false);
  const { uri: kek } = await upstream.createKek('orders', new Map(), 'uid 2001');
  const tenant = (name: string) => new Map([['tenant', name]]);
  const partitions = Array.from({ length: 9_999 }, (_, index) => ({
    kek: 'orders',
    keyName: 'orders',
    pairs: canonicalPairs(tenant(`tenant-${index}`)),
    disabledAt: 1,
    disabledBy: 'uid 2001',
  }));
  store.write({ partitions });
  await upstream.changePartition(kek, 'orders', tenant('one'), 'disable', 'uid 2001');
  const another = () => upstream.changePartition(kek, 'orders', tenant('two'), 'disable', 'uid 2001');
  t.is(await reasonOf(t, another()), 'QUOTA_EXCEEDED');
  await upstream.changePartition(kek, 'orders', tenant('one'), 'disable', 'uid 2001');
  await upstream.changePartition(kek, 'orders', tenant('tenant-7'), 'enable', 'uid 2001');
  await another();
  t.is(store.kek('orders')?.partitions.size, 10_000);

  // Another key's kill switch works, under the same KEK and under one of its own, as far as its own share goes.
  await upstream.createKek('carts', new Map(), 'uid 2001');
  const own = Array.from({ length: 998 }, (_, index) => ({
    ...partitions[0]!,
    keyName: 'carts',
    pairs: canonicalPairs(tenant(`own-${index}`)),
  }));
  store.write({ partitions: own });
  for (const name of ['one', 'two']) await upstream.changePartition(kek, 'carts', tenant(name), 'disable', 'uid 2001');
  t.is(
    await reasonOf(t, upstream.changePartition(kek, 'carts', tenant('three'), 'disable', 'uid 2001')),
    'QUOTA_EXCEEDED',
  );
  await upstream.changePartition('local:carts', 'carts', tenant('three'), 'disable', 'uid 2001');
});

test('no slot for a new key is an error of the agent, and nothing is made', (t) => {
  const place = makePlace(t);
  const { store, keys } = openStore(t, place);
  const kekKeys = new KekKeys(store.id, keys.kekWrap);
  kekKeys.create = () => {
    throw Object.assign(new Error('no free slot'), { code: 'ERR_NO_MEMORY' });
  };
  const onChange = () => t.fail('nothing was changed');
  const lifecycle = new Lifecycle({ options: place.options, clock: new MovableClock(), store, kekKeys, onChange });
  const error = t.throws(() => lifecycle.create('orders', new Map(), 'uid 2001'), { name: 'DekdError' });
  t.is((error as unknown as { reason: string }).reason, 'SECRET_MEMORY_EXHAUSTED');
  t.deepEqual(store.names(), []);
});

/** An upstream on a disk that takes a change, says that it failed, and cannot be read until it is repaired. */
async function lyingDisk(t: ExecutionContext) {
  const place = makePlace(t);
  const clock = new MovableClock();
  const { store, database, keys } = openStore(t, place);
  const upstream = new LocalUpstream({ ...place.options, clock }, store, keys, false);
  const { uri: kek } = await upstream.createKek('orders', new Map(), 'uid 2001');
  const told: string[] = [];
  upstream.onKekChange = ({ state, versions }) => told.push(`${state} ${versions.length}`);
  const { connection } = database;
  const { exec, prepare } = { exec: connection.exec.bind(connection), prepare: connection.prepare.bind(connection) };
  connection.exec = (sql) => {
    exec(sql);
    if (sql === 'COMMIT') throw Object.assign(new Error('disk I/O error'), { code: 'ERR_SQLITE_ERROR', errcode: 1034 });
  };
  connection.prepare = (sql) => {
    if (sql.startsWith('SELECT'))
      throw Object.assign(new Error('disk I/O error'), { code: 'ERR_SQLITE_ERROR', errcode: 266 });
    return prepare(sql);
  };
  const repair = () => Object.assign(connection, { exec, prepare });
  return { upstream, kek, clock, told, repair };
}
const UNKNOWN = {
  name: 'DekdError',
  message: /^keystore \S+: it is not known whether the change was made: the disk could not be read or written/,
};

test('a change that seemed to fail and took place is told to the followers and to whoever asks next', async (t) => {
  const { upstream, kek, told, repair } = await lyingDisk(t);
  await t.throwsAsync(upstream.rotateKek(kek, 'uid 2001'), UNKNOWN);
  t.is((await upstream.describe(kek, live())).versions.length, 1);
  repair();
  t.deepEqual(told, []);
  await t.throwsAsync(upstream.rotateKek(kek, 'uid 2001'), {
    name: 'DekdError',
    message:
      /^keystore \S+: an earlier change that seemed to fail is on the disk after all; look at the key, and try again$/,
  });
  t.deepEqual(told.splice(0), ['active 2']);
  t.is((await upstream.describe(kek, live())).versions.length, 2);
  t.is((await upstream.rotateKek(kek, 'uid 2001')).versions.length, 3);
  t.deepEqual(told, ['active 3']);
});

test('a change that seemed to fail and took place takes effect within a minute, though nobody asks for anything more', async (t) => {
  const { upstream, kek, clock, told, repair } = await lyingDisk(t);
  await t.throwsAsync(upstream.changeKek(kek, 'disable', 'uid 2001'), UNKNOWN);
  await clock.advance(3 * 60_000);
  t.is((await upstream.describe(kek, live())).state, 'active');
  repair();
  await clock.advance(60_000);
  t.is((await upstream.describe(kek, live())).state, 'disabled');
  t.deepEqual(told, ['disabled 1']);
});
