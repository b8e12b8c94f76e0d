import test, { type ExecutionContext } from 'ava';
import { createKey, freeKey, hmac, openArena } from '../../../src/crypto/native.ts';
import type { Field } from '../../../src/upstream/local/fields.ts';
import { RecordChecker, recordBytes } from '../../../src/upstream/local/record-checker.ts';
import { PARTITIONS, type PartitionRecord } from '../../../src/upstream/local/records.ts';

const STORE = '0123456789abcdef';
const RECORD: PartitionRecord = { kek: 'orders', keyName: 'k', pairs: '[]', disabledAt: 1, disabledBy: 'uid 1' };
const ID = 'orders:k:[]';
const WHAT = 'the record of the disabled partition "[]" of key "k" under KEK "orders"';

function makeChecker(t: ExecutionContext) {
  openArena({ size: 1 << 20, lock: 'best-effort' });
  const key = createKey('raw');
  t.teardown(() => freeKey(key));
  const row = PARTITIONS.toRow(RECORD);
  const mac = hmac(key, recordBytes(PARTITIONS.name, STORE, row));
  const checker = (listed: readonly [string, string][] = [[ID, mac.toString('hex')]]) =>
    new RecordChecker(STORE, key, new Map(listed));
  return { checker, row, mac };
}

test('what fits comes back as records', (t) => {
  const { checker, row, mac } = makeChecker(t);
  const sound = checker();
  t.deepEqual(sound.check(PARTITIONS, [[...row, mac]]), [RECORD]);
  t.deepEqual(sound.finish(), []);
});

test('what does not fit is damage, and no record', (t) => {
  const { checker, row, mac } = makeChecker(t);
  const cases: readonly [listed: [string, string][] | undefined, columns: readonly unknown[], problem: string][] = [
    [undefined, ['orders', 'k', '[]', 2n, 'uid 1', mac], 'was changed outside dekd'],
    [undefined, [...row, Buffer.alloc(32)], 'was changed outside dekd'],
    [undefined, [...row, null], 'was changed outside dekd'],
    [undefined, ['orders', 'k', '[]', 1.5, 'uid 1', mac], 'was changed outside dekd'],
    [[], [...row, mac], 'is not in the store record: it was added outside dekd'],
    [[[ID, '00']], [...row, mac], 'is not the one in the store record: one of the two was put back from an older copy'],
  ];
  for (const [listed, columns, problem] of cases) {
    const one = checker(listed);
    t.deepEqual(one.check(PARTITIONS, [columns as Field[]]), []);
    t.deepEqual(one.finish(), [{ what: WHAT, problem }]);
  }
});

test('what is listed and was not met is missing', (t) => {
  const { checker } = makeChecker(t);
  t.deepEqual(checker().finish(), [{ what: WHAT, problem: 'is missing: it was removed outside dekd' }]);
  t.deepEqual(checker().finish('cannot be read'), [{ what: WHAT, problem: 'cannot be read' }]);
});

test('a record fits into its own table of its own store only', (t) => {
  const { row } = makeChecker(t);
  const bytes = [
    recordBytes('disabled_partition', STORE, row),
    recordBytes('kek', STORE, row),
    recordBytes('disabled_partition', 'fedcba9876543210', row),
  ];
  t.is(new Set(bytes.map((one) => one.toString('hex'))).size, 3);
});
