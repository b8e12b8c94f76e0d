import test from 'ava';
import {
  type DekBlock,
  isKeyName,
  parseDekBlock,
  partitionIsIn,
  sealDekBlock,
  verifyDekBlock,
  wrapContext,
} from '../../src/crypto/dek-block.ts';
import { createKey, dekId, freeKey, type SlotHandle } from '../../src/crypto/native.ts';
import { DekdError } from '../../src/errors.ts';
import { Random } from '../fuzz/random.ts';
import { openTestArena } from '../native/load-key.ts';

const RECIPIENT = {
  type: 1,
  wrapAlgorithm: 6,
  kekUri: 'local:0123456789abcdef/orders',
  kekVersion: '1',
  wrapped: Buffer.alloc(72, 7),
};
const BLOCK: DekBlock = {
  createdMs: 1_767_225_600_000,
  generation: 0,
  keyName: 'orders',
  partition: new Map([['tenant', 'acme']]),
  recipients: [RECIPIENT],
};

let dek: SlotHandle;

test.before(() => {
  openTestArena();
  dek = createKey('dek');
});

test.after(() => freeKey(dek));

test('a sealed block is read back, 187 bytes as the doc computes', (t) => {
  const sealed = sealDekBlock(BLOCK, dek);
  t.is(sealed.length, 187);
  t.deepEqual(parseDekBlock(sealed), BLOCK);
  t.true(verifyDekBlock(dek, dekId(dek), sealed));
});

test('no bit of a block or dek_id can change unseen', (t) => {
  const sealed = sealDekBlock(BLOCK, dek);
  const id = dekId(dek);
  for (const bytes of [sealed, id]) {
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      if (verifyDekBlock(dek, id, sealed)) t.fail(`bit ${bit}`);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
    }
  }
  t.true(verifyDekBlock(dek, id, sealed));
  t.false(verifyDekBlock(dek, id, sealed.subarray(0, -1)));
  t.false(verifyDekBlock(dek, id, Buffer.alloc(0)));
});

test('a block of another DEK does not verify', (t) => {
  const other = createKey('dek');
  t.false(verifyDekBlock(other, dekId(other), sealDekBlock(BLOCK, dek)));
  freeKey(other);
});

test("a partition that no block can hold is the caller's fault", (t) => {
  const partitions = [
    [['', 'x']],
    [['a', '']],
    [['a', 'x'.repeat(257)]],
    [['dekd:x', 'x']],
    [['aws:x', 'x']],
    [['a', '\ud800']],
    Array.from({ length: 65 }, (_, index) => [`${index}`, 'x']),
    Array.from({ length: 40 }, (_, index) => [`${index}`, 'x'.repeat(256)]),
  ] as [string, string][][];
  for (const partition of partitions) {
    const error = t.throws(() => sealDekBlock({ ...BLOCK, partition: new Map(partition) }, dek), {
      instanceOf: DekdError,
    });
    t.deepEqual([error.reason, error.metadata], ['INVALID_REQUEST', { field: 'encryption_context' }]);
  }
});

test('a block over 16 KiB is refused with its size', (t) => {
  const recipients = Array.from({ length: 16 }, (_, index) => ({
    ...RECIPIENT,
    wrapAlgorithm: 2,
    kekVersion: `${index}`,
    wrapped: Buffer.alloc(1024),
  }));
  const error = t.throws(() => sealDekBlock({ ...BLOCK, recipients }, dek), { instanceOf: DekdError });
  t.is(error.reason, 'INVALID_REQUEST');
  t.regex(error.message, /dek-block of \d+ bytes, at most 16384/);
});

test('a block that readers would refuse is never made', (t) => {
  const wrong: Partial<DekBlock>[] = [
    { createdMs: 2 ** 53 },
    { keyName: '' },
    { keyName: 'ordérs' },
    { recipients: [] },
    { recipients: [RECIPIENT, RECIPIENT] },
    { recipients: [{ ...RECIPIENT, type: 2 }] },
    { recipients: [{ ...RECIPIENT, wrapAlgorithm: 7 }] },
    { recipients: [{ ...RECIPIENT, wrapped: Buffer.alloc(71) }] },
  ];
  for (const fields of wrong) {
    const error = t.throws(() => sealDekBlock({ ...BLOCK, ...fields }, dek), { instanceOf: DekdError });
    t.deepEqual([error.reason, error.message], ['INTERNAL', 'internal error']);
  }
});

test('structural faults name the byte', (t) => {
  const sealed = sealDekBlock(BLOCK, dek);
  t.throws(() => parseDekBlock(Buffer.of(9, ...sealed.subarray(1))), {
    message: 'dek-block: unknown version 9 (at byte 0)',
  });
  for (let length = 0; length < sealed.length; length++) {
    const error = t.throws(() => parseDekBlock(sealed.subarray(0, length)), { instanceOf: DekdError });
    t.deepEqual([error.reason, error.message.slice(0, 21)], ['INVALID_CIPHERTEXT', 'dek-block: ends insid']);
  }
});

test("the wrap context is one sorted map of dekd's pairs and the partition's", (t) => {
  const id = Buffer.alloc(32, 0xab);
  const { pairs, encoded } = wrapContext(
    'orders',
    id,
    new Map([
      ['tenant', 'acme'],
      ['a', 'b'],
    ]),
  );
  t.deepEqual(Object.fromEntries(pairs), { a: 'b', 'dekd:id': 'ab'.repeat(32), 'dekd:key': 'orders', tenant: 'acme' });
  const expected = ['a', 'b', 'dekd:id', 'ab'.repeat(32), 'dekd:key', 'orders', 'tenant', 'acme'];
  const parts = expected.map((text) => Buffer.concat([Buffer.of(0, 0, 0, text.length), Buffer.from(text)]));
  t.deepEqual(Buffer.from(encoded), Buffer.concat([Buffer.of(0, 0, 0, 4), ...parts]));
});

test('key names', (t) => {
  for (const name of ['a', '0', 'A.b_c-d', 'x'.repeat(128)]) t.true(isKeyName(name), name);
  for (const name of ['', '.a', '_a', '-a', 'a/b', 'a b', 'a\n', 'é', 'x'.repeat(129)]) t.false(isKeyName(name), name);
});

test('a partition is in a context when each of its pairs is, byte for byte', (t) => {
  const texts = ['a', 'ab', 'b', 'é', 'Ã©', '\u00c3', 'e\u0301', '\ufffd', '𝒳', 'x'.repeat(256), '0', 'A'];
  const random = new Random(11);
  const pairs = (count: number) =>
    new Map(Array.from({ length: count }, () => [random.pick(texts), random.pick(texts)] as const));
  let held = 0;
  for (let round = 0; round < 3_000; round++) {
    const partition = pairs(random.below(4));
    const context = random.chance(1, 2) ? new Map([...pairs(3), ...partition]) : pairs(random.below(5));
    if (random.chance(1, 3) && partition.size > 0) context.set([...partition.keys()][0]!, random.pick(texts));
    const block = sealDekBlock({ ...BLOCK, partition }, dek);
    // Names that are right, that are of another configuration, and none.
    const sorted = [...parseDekBlock(block).partition.keys()];
    const names = random.pick([sorted, [...pairs(3).keys()], []]);
    const expected = [...partition].every(([name, value]) => context.get(name) === value);
    const offset = random.below(50);
    const bytes = Buffer.concat([Buffer.alloc(offset, 0xff), block]);
    t.is(partitionIsIn(context, bytes, offset, names), expected, JSON.stringify([...partition, '|', ...context]));
    held += Number(expected);
  }
  t.true(held > 500 && held < 2_500);
});

test('half a surrogate pair in a context is not the replacement character of a partition', (t) => {
  const block = sealDekBlock({ ...BLOCK, partition: new Map([['tenant', '\ufffd']]) }, dek);
  t.false(partitionIsIn(new Map([['tenant', '\ud800']]), block, 0, ['tenant']));
});
