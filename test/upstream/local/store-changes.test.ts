import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { type KeystoreDatabase, openDatabase } from '../../../src/upstream/local/database.ts';
import { KekKeys } from '../../../src/upstream/local/kek-keys.ts';
import type { VersionRecord } from '../../../src/upstream/local/records.ts';
import { RAW } from '../../../src/upstream/local/root-key-kdf.ts';
import { type Keystore, loadStore } from '../../../src/upstream/local/store.ts';
import { freeStoreKeys, openStoreKeys, type StoreKeys } from '../../../src/upstream/local/store-keys.ts';
import { edit, kekRecord, makePlace, openStore, type Place, versionRecord } from './fixture.ts';

const PARTITION = {
  kek: 'orders',
  keyName: 'orders',
  pairs: '[["tenant","acme"]]',
  disabledAt: 1,
  disabledBy: 'uid 2001',
};

/** The same store, read from the disk by another one. */
function reopened(t: ExecutionContext, place: Place, store: Keystore): Keystore {
  store.close();
  return openStore(t, place).store;
}

test('a change that does not fit on the disk changes nothing, in the file or in memory', (t) => {
  const place = makePlace(t);
  const { store, database } = openStore(t, place);
  const labels = new Map([['note', 'x'.repeat(200)]]);
  store.write({ keks: [kekRecord('first', { labels })] });
  const { page_count: pages } = database.connection.prepare('PRAGMA page_count').get() as { page_count: number };
  database.connection.exec(`PRAGMA max_page_count = ${pages}`);
  const many = Array.from({ length: 100 }, (_, index) => kekRecord(`kek-${index}`, { labels }));
  t.throws(() => store.write({ keks: many }), { message: /full/ });
  t.false(database.connection.isTransaction);
  t.is(store.kek('kek-0'), undefined);
  t.is(store.kek('first')?.record.name, 'first');
  store.write({ keks: [kekRecord('first', { labels, state: 'disabled', stateBefore: 'active' })] });
  const again = reopened(t, place, store);
  t.is(again.kek('first')?.record.state, 'disabled');
  t.is(again.kek('kek-0'), undefined);
});

test('partitions are added and taken out, and are there after a restart', (t) => {
  const place = makePlace(t);
  const { store } = openStore(t, place);
  store.write({ keks: [kekRecord('orders')], versions: [versionRecord('orders')] });
  const other = { ...PARTITION, pairs: '[["tenant","umbrella"]]' };
  store.write({ partitions: [PARTITION, other] });
  t.is(store.kek('orders')?.partitions.size, 2);
  store.write({ removedPartitions: [other] });
  t.deepEqual([...store.kek('orders')!.partitions.values()], [PARTITION]);
  const again = reopened(t, place, store);
  t.deepEqual([...again.kek('orders')!.partitions.values()], [PARTITION]);
});

test('a disabled partition that was edited, removed or added is refused by name', (t) => {
  const edits: [sql: string, problem: RegExp][] = [
    [`UPDATE disabled_partition SET disabled_by = 'nobody'`, /was changed outside dekd/],
    [`UPDATE disabled_partition SET pairs = '[["tenant","x"]]'`, /\\"x\\".* was changed outside dekd/],
    ['DELETE FROM disabled_partition', /is missing: it was removed outside dekd/],
    [
      `INSERT INTO disabled_partition SELECT kek, 'carts', pairs, disabled_at, disabled_by, mac FROM disabled_partition`,
      /of key "carts" under KEK "orders" was changed outside dekd/,
    ],
  ];
  for (const [sql, problem] of edits) {
    const place = makePlace(t);
    const { store } = openStore(t, place);
    store.write({ keks: [kekRecord('orders')], partitions: [PARTITION] });
    store.close();
    edit(place, (connection) => connection.exec(sql));
    const error = t.throws(() => openStore(t, place), { name: 'DekdError', message: problem });
    t.regex(error?.message ?? '', /the record of the disabled partition "\[\[.*\]\]" of key "\w+" under KEK "orders"/);
  }
});

/** A sequence of numbers that is the same in every run: where SQLite puts rows depends on their lengths and order. */
function sequence(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
}

/** A store that grew one KEK at a time, so that SQLite moved rows; `step` is called after each. */
function growStore(
  t: ExecutionContext,
  { seed, count }: { seed: number; count: number },
  step: (grown: { place: Place; store: Keystore; live: string[]; next: (below: number) => number }) => void,
): { place: Place; store: Keystore; live: string[] } {
  const place = makePlace(t);
  const { store, database, keys } = openStore(t, place);
  const kekKeys = new KekKeys(store.id, keys.kekWrap);
  // Only for the test's time: what is written is the same.
  database.connection.exec('PRAGMA synchronous = OFF');
  const next = sequence(seed);
  const live: string[] = [];
  for (let round = 0; round < count; round++) {
    const name = `k${next(1e6)}${'x'.repeat(next(110))}`;
    const wrappedKey = kekKeys.create(name, 1);
    store.write({ keks: [kekRecord(name)], versions: [versionRecord(name, 1, { wrappedKey })] });
    live.push(name);
    if (next(3) === 0) {
      const changed = versionOf(store, live[next(live.length)]!);
      store.write({ versions: [{ ...changed, state: 'decrypt-only', changedBy: 'u'.repeat(next(30)) }] });
    }
    step({ place, store, live, next });
  }
  return { place, store, live };
}

function versionOf(store: Keystore, name: string): VersionRecord {
  return store.kek(name)!.versions.get(1)!;
}

function wrappedKeys(store: Keystore, names: readonly string[]): Buffer[] {
  return names.map((name) => Buffer.from(versionOf(store, name).wrappedKey!));
}

// With these seeds SQLite moves a row and leaves a copy of it behind, which secure_delete does not reach when the row is changed later.
for (const seed of [10, 15]) {
  test(`no byte of a destroyed key stays in the file or its journal (seed ${seed})`, (t) => {
    const gone: Buffer[] = [];
    const { place, store, live } = growStore(t, { seed, count: 200 }, ({ place, store, live, next }) => {
      if (next(3) !== 0) return;
      const [destroyed = ''] = live.splice(next(live.length), 1);
      gone.push(...wrappedKeys(store, [destroyed]));
      const changes = { state: 'destroyed', wrappedKey: null, changedBy: 'uid 2001, uid 2002' } as const;
      store.write({ versions: [{ ...versionOf(store, destroyed), ...changes }] });
      t.deepEqual(foundIn(place, gone), []);
    });
    t.true(gone.length > 50);
    t.is(foundIn(place, wrappedKeys(store, live)).length, live.length);
    const again = reopened(t, place, store);
    for (const name of live) t.is(versionOf(again, name).wrappedKey?.length, 72);
  });
}

for (const seed of [2, 29]) {
  test(`no byte of a key as the former root key wrapped it stays in the file or its journal (seed ${seed})`, (t) => {
    const { place, store, live } = growStore(t, { seed, count: 100 }, () => undefined);
    const before = wrappedKeys(store, live);
    t.is(foundIn(place, before).length, live.length);
    store.rekey(otherKeys(t, place), RAW);
    t.deepEqual(foundIn(place, before), []);
    t.is(foundIn(place, wrappedKeys(store, live)).length, live.length);
  });
}

/** Those of `keys` of which eight bytes lie in the database or its journal. */
function foundIn(place: Place, keys: readonly Buffer[]): Buffer[] {
  const files = [place.database, `${place.database}-journal`].filter(existsSync).map((file) => readFileSync(file));
  return keys.filter((key) =>
    [0, 20, 40, 64].some((at) => files.some((file) => file.includes(key.subarray(at, at + 8)))),
  );
}

test('a store under other keys is the same store, and its old wrapped keys are gone', (t) => {
  const place = makePlace(t);
  const { store, keys } = openStore(t, place);
  const kekKeys = new KekKeys(store.id, keys.kekWrap);
  const wrap = (kek: string, version: number) =>
    versionRecord(kek, version, { state: 'decrypt-only', wrappedKey: kekKeys.create(kek, version) });
  const versions = [wrap('orders', 1), wrap('orders', 2), wrap('carts', 1)];
  const destroyed = versionRecord('carts', 2, { state: 'destroyed', wrappedKey: null });
  store.write({
    keks: [kekRecord('orders'), kekRecord('carts')],
    versions: [...versions, destroyed],
    partitions: [PARTITION],
  });
  const { id } = store;
  const nextKeys = otherKeys(t, place);
  store.rekey(nextKeys, RAW);
  t.deepEqual(
    foundIn(
      place,
      versions.map(({ wrappedKey }) => Buffer.from(wrappedKey!)),
    ),
    [],
  );
  // It goes on under the new keys.
  store.write({ keks: [kekRecord('later')] });
  store.close();

  t.throws(() => openStore(t, place), { message: /this root key \(id \w+\) is not the store's/ });
  const database = openDatabase(place.directory);
  const again = loadStore(database, nextKeys);
  t.is(again.id, id);
  t.deepEqual(again.names(), ['carts', 'later', 'orders']);
  t.deepEqual([...again.kek('orders')!.partitions.values()], [PARTITION]);
  t.deepEqual(again.kek('carts')?.versions.get(2), destroyed);
  const before = new KekKeys(store.id, keys.kekWrap);
  const after = new KekKeys(store.id, nextKeys.kekWrap);
  for (const { kek, version, wrappedKey } of versions) {
    const now = again.kek(kek)!.versions.get(version)!;
    t.deepEqual({ ...now, wrappedKey }, { ...store.kek(kek)!.versions.get(version)!, wrappedKey });
    t.throws(() => before.load(kek, version, now.wrappedKey!), { code: 'ERR_AUTHENTICATION' });
    after.load(kek, version, now.wrappedKey!);
  }
  before.freeAll();
  after.freeAll();
  again.close();
});

test('keys that cannot be changed are changed nowhere', (t) => {
  const place = makePlace(t);
  const { store } = openStore(t, place);
  // Not wrapped under this store's key: what a rewrap meets half way.
  store.write({ keks: [kekRecord('orders')], versions: [versionRecord('orders')] });
  const nextKeys = otherKeys(t, place);
  t.throws(() => store.rekey(nextKeys, RAW), { code: 'ERR_AUTHENTICATION' });
  store.write({ keks: [kekRecord('carts')] });
  t.deepEqual(reopened(t, place, store).names(), ['carts', 'orders']);
});

function otherKeys(t: ExecutionContext, place: Place): StoreKeys {
  const file = `${place.rootKeyFile}.next`;
  writeFileSync(file, Buffer.alloc(32, 7), { mode: 0o600 });
  const keys = openStoreKeys({ file }, { directory: place.directory, kdf: RAW, isNew: true });
  t.teardown(() => freeStoreKeys(keys));
  return keys;
}

/** Makes the `nth` COMMIT throw, after it took place or instead of it. */
function failingCommit(
  database: KeystoreDatabase,
  { takesPlace, times }: { takesPlace: boolean; times: number },
): void {
  const { connection } = database;
  const exec = connection.exec.bind(connection);
  let left = times;
  connection.exec = (sql: string) => {
    if (sql !== 'COMMIT' || left === 0) return exec(sql);
    left--;
    if (takesPlace) exec(sql);
    throw Object.assign(new Error('disk I/O error'), { code: 'ERR_SQLITE_ERROR', errcode: 1034 });
  };
}

test('a commit that fails although it took place is found on the disk, and is a success once it is synced', (t) => {
  const place = makePlace(t);
  const { store, database } = openStore(t, place);
  failingCommit(database, { takesPlace: true, times: 1 });
  store.write({ keks: [kekRecord('orders')], versions: [versionRecord('orders')] });
  t.is(store.kek('orders')?.versions.size, 1);
  store.write({ keks: [kekRecord('carts')] });
  t.deepEqual(reopened(t, place, store).names(), ['carts', 'orders']);
});

test('a commit that took place and cannot be synced is an error, and memory is what lies on the disk', (t) => {
  const place = makePlace(t);
  const { store, database } = openStore(t, place);
  failingCommit(database, { takesPlace: true, times: 2 });
  const late: unknown[] = [];
  store.onLateChange = (keks) => late.push([keks, store.names()]);
  t.throws(() => store.write({ keks: [kekRecord('orders')], versions: [versionRecord('orders')] }), {
    name: 'DekdError',
    message: /: the change was made, and may be undone when the power fails: .*\(disk I\/O error\); look at the key$/,
  });
  t.deepEqual(store.names(), ['orders']);
  t.deepEqual(late, [[['orders'], ['orders']]]);
  store.write({ keks: [kekRecord('carts')] });
  t.deepEqual(reopened(t, place, store).names(), ['carts', 'orders']);
});

test('a commit that did not take place changes nothing', (t) => {
  const place = makePlace(t);
  const { store, database } = openStore(t, place);
  store.onLateChange = () => t.fail('nothing was changed');
  failingCommit(database, { takesPlace: false, times: 1 });
  t.throws(() => store.write({ keks: [kekRecord('orders')] }), { message: 'disk I/O error' });
  t.deepEqual(store.names(), []);
  store.write({ keks: [kekRecord('carts')] });
  t.deepEqual(reopened(t, place, store).names(), ['carts']);
});

test('nothing is written while it is not known what lies on the disk', (t) => {
  const place = makePlace(t);
  const { store, database } = openStore(t, place);
  const { connection } = database;
  const prepare = connection.prepare.bind(connection);
  failingCommit(database, { takesPlace: true, times: 1 });
  connection.prepare = (sql: string) => {
    if (sql === 'SELECT manifest FROM store') throw new Error('cannot be read');
    return prepare(sql);
  };
  const late: (readonly string[])[] = [];
  store.onLateChange = (keks) => late.push(keks);
  t.throws(() => store.write({ keks: [kekRecord('orders')] }), {
    name: 'DekdError',
    message: /: it is not known whether the change was made: .*; look at the key in a minute, before you try again$/,
  });
  t.throws(() => store.write({ keks: [kekRecord('carts')] }), { message: 'cannot be read' });
  t.throws(() => store.settle(), { message: 'cannot be read' });
  t.deepEqual([store.names(), late], [[], []]);
  connection.prepare = prepare;
  // What was asked for now was made from a memory that did not know of `orders`.
  t.throws(() => store.write({ keks: [kekRecord('carts')] }), {
    name: 'DekdError',
    message: /an earlier change that seemed to fail is on the disk after all/,
  });
  t.deepEqual([store.names(), late], [['orders'], [['orders']]]);
  t.false(store.settle(), 'once');
  store.write({ keks: [kekRecord('carts')] });
  t.deepEqual(store.names(), ['carts', 'orders']);
  t.deepEqual(reopened(t, place, store).names(), ['carts', 'orders']);
});
