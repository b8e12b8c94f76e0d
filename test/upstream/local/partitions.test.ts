import test from 'ava';
import { canonicalPairs, checkPartition, partitionId, partitionOf } from '../../../src/upstream/local/partitions.ts';

test('pairs have one text, in whatever order they come', (t) => {
  const text = '[["a","1"],["b","2"]]';
  t.is(
    canonicalPairs(
      new Map([
        ['a', '1'],
        ['b', '2'],
      ]),
    ),
    text,
  );
  t.is(
    canonicalPairs(
      new Map([
        ['b', '2'],
        ['a', '1'],
      ]),
    ),
    text,
  );
  t.not(canonicalPairs(new Map([['a', '1","b","2']])), text);
  t.not(canonicalPairs(new Map([['a","1"],["b', '2']])), text);
});

test("a wrap context names the partition that is disabled by the key's name and the pairs that are not dekd's", (t) => {
  const pairs = checkPartition(
    'orders',
    new Map([
      ['tenant', 'acme'],
      ['region', 'eu'],
    ]),
  );
  const id = partitionId('orders', pairs);
  const own = [
    ['dekd:key', 'orders'],
    ['dekd:id', '00'],
  ] as const;
  t.is(partitionOf(new Map([...own, ['region', 'eu'], ['tenant', 'acme']])), id);
  t.not(partitionOf(new Map([...own, ['tenant', 'acme']])), id);
  t.not(partitionOf(new Map([...own, ['region', 'eu'], ['tenant', 'acme'], ['more', 'x']])), id);
  t.not(partitionOf(new Map([...own, ['region', 'eu'], ['tenant', 'Acme']])), id);
  t.not(
    partitionOf(
      new Map([
        ['dekd:key', 'carts'],
        ['region', 'eu'],
        ['tenant', 'acme'],
      ]),
    ),
    id,
  );
  t.not(partitionOf(new Map()), id);
});

test('what cannot be a partition is refused', (t) => {
  const many = (count: number) => new Map(Array.from({ length: count }, (_, index) => [`k${index}`, 'v']));
  t.notThrows(() => checkPartition('orders', many(64)));
  t.notThrows(() => checkPartition('orders', new Map([['k', 'v'.repeat(8191)]])));
  const bad: [keyName: string, partition: Map<string, string>, message: RegExp][] = [
    ['', many(1), /^key: must be/],
    ['or:ders', many(1), /^key: must be/],
    ['orders', many(0), /^partition: has 0 entries, 1 to 64 are allowed$/],
    ['orders', many(65), /^partition: has 65 entries/],
    ['orders', new Map([['', 'v']]), /^partition: a key or value is empty$/],
    ['orders', new Map([['k', '']]), /^partition: a key or value is empty$/],
    ['orders', new Map([['dekd:key', 'carts']]), /^partition: keys that begin with dekd:/],
    ['orders', new Map([['k', '\ud800']]), /^partition: a key or value is not valid Unicode$/],
    ['orders', new Map([['\udc00', 'v']]), /^partition: a key or value is not valid Unicode$/],
    ['orders', new Map([['k', 'ä'.repeat(4096)]]), /^partition: has 8193 bytes, at most 8192 are allowed$/],
  ];
  for (const [keyName, partition, message] of bad) {
    const error = t.throws(() => checkPartition(keyName, partition), { name: 'DekdError', message });
    t.is((error as unknown as { reason: string }).reason, 'INVALID_REQUEST');
  }
});
