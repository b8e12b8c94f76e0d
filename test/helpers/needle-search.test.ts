import test from 'ava';
import { NeedleSearch } from './needle-search.ts';

test('a needle is found where it stands, also at the end, and its beginning at the end is none', (t) => {
  const search = new NeedleSearch([{ name: 'letters', bytes: Buffer.from('abcdefgh') }]);
  const found = (text: string): number[] => {
    const places: number[] = [];
    search.in(Buffer.from(text), (_, at) => places.push(at));
    return places;
  };
  t.deepEqual(found('xxabcdefgh..abcdefgh'), [2, 12]);
  for (const cut of ['a', 'abc', 'abcd', 'abcdefg']) t.deepEqual(found(`abcdefgh${cut}`), [0], cut);
});
