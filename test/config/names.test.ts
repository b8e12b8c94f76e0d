import test from 'ava';
import { kekName } from '../../src/config/names.ts';

test('a KEK’s name is what both forms of its reference end with', (t) => {
  t.is(kekName('local:orders'), 'orders');
  t.is(kekName('local:0123456789abcdef/orders'), 'orders');
});
