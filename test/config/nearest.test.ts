import test from 'ava';
import { hint } from '../../src/config/nearest.ts';

test('a slip of a letter, of case or of a separator is guessed', (t) => {
  const known = ['max_deks', 'rotate_after', 'ttl'];
  for (const [written, meant] of [
    ['tll', 'ttl'],
    ['maxDeks', 'max_deks'],
    ['Rotate-After', 'rotate_after'],
    ['rotate_afer', 'rotate_after'],
  ] as const) {
    t.is(hint(written, known, 'known'), `did you mean ${meant}?`);
  }
});

test('what is like nothing known gets the list, of at most 20', (t) => {
  t.is(hint('cipher', ['ttl', 'grace'], 'known here'), 'known here: ttl, grace');
  const many = Array.from({ length: 25 }, (_, index) => `abcdefgh${index}`);
  t.is(hint('x', many, 'known'), `known: ${many.slice(0, 20).join(', ')}, and 5 more`);
  t.is(hint('maxabc', ['max_deks'], 'known'), 'known: max_deks', 'over a third of its letters is no slip');
});
