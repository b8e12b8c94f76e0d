import { randomBytes } from 'node:crypto';
import test from 'ava';
import { NeedleSearch } from './needle-search.ts';
import type { Needle } from './scan-memory.ts';

function findings(search: NeedleSearch, chunk: Buffer): string[] {
  const found: string[] = [];
  search.in(chunk, (name, at) => found.push(`${name} at ${at}`));
  return found.sort();
}

function needles(...lengths: readonly number[]): Needle[] {
  return lengths.map((length, at) => ({ name: `needle ${at} of ${length}`, bytes: randomBytes(length) }));
}

test('a needle is found where it stands, also at the end, and its beginning at the end is none', (t) => {
  const search = new NeedleSearch([{ name: 'letters', bytes: Buffer.from('abcdefgh') }]);
  t.deepEqual(findings(search, Buffer.from('xxabcdefgh..abcdefgh')), ['letters at 12', 'letters at 2']);
  for (const cut of ['a', 'abc', 'abcd', 'abcdefg'])
    t.deepEqual(findings(search, Buffer.from(`abcdefgh${cut}`)), ['letters at 0'], cut);
  t.deepEqual(findings(search, Buffer.from('bcdefgh..bcdefgh')), []);
});

for (const lengths of [[4], [7], [16, 32], [16, 43, 64, 5], [100]]) {
  test(`wherever it stands: needles of ${lengths} bytes`, (t) => {
    const all = needles(...lengths);
    const search = new NeedleSearch(all);
    t.is(search.longestBytes, Math.max(...lengths));
    for (const { name, bytes } of all) {
      for (let at = 0; at < 40; at++) {
        for (const after of [0, 1, 7, 40]) {
          const chunk = Buffer.concat([Buffer.alloc(at), bytes, Buffer.alloc(after)]);
          t.is(findings(search, chunk).join(), `${name} at ${at}`);
          // One bit of another byte each time.
          chunk[at + ((at * 40 + after) % bytes.length)]! ^= 1;
          t.is(findings(search, chunk).join(), '');
        }
      }
    }
  });
}

test('needles with the same beginning, and one within another, are all found', (t) => {
  const bytes = randomBytes(32);
  const search = new NeedleSearch([
    { name: 'whole', bytes },
    { name: 'first half', bytes: bytes.subarray(0, 16) },
    { name: 'again', bytes },
    { name: 'from the third on', bytes: bytes.subarray(3) },
  ]);
  const chunk = Buffer.concat([Buffer.alloc(5), bytes]);
  t.deepEqual(findings(search, chunk), ['again at 5', 'first half at 5', 'from the third on at 8', 'whole at 5']);
});

test('of 100,000 needles each is found among the others', (t) => {
  const all = needles(...Array.from({ length: 100_000 }, () => 16));
  const found = findings(new NeedleSearch(all), Buffer.concat(all.map(({ bytes }) => bytes)));
  const expected = all.map(({ name }, at) => `${name} at ${at * 16}`).sort();
  t.true(found.join() === expected.join());
});
