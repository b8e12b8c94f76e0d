import test from 'ava';
import type { KekProblem } from '../../src/config/kek-problems.ts';
import { parseConfig } from '../../src/config/load.ts';
import { BASE, place } from './example.ts';

const { groupFile } = place(test);
const TWO = BASE.replace(
  '"local:orders", role: authority } ]',
  '"local:orders", role: authority } ]\n    decrypt_with: [ { upstream: store, kek: "local:old" }, { upstream: store, kek: "local:older" } ]',
);
const parse = (text: string, kekProblem?: KekProblem) =>
  parseConfig(text, 'F', { groupFile, ...(kekProblem === undefined ? {} : { kekProblem }) });

test('what a type of upstream finds wrong with a reference is said at its place, and all of it at once', (t) => {
  const asked: [string, string][] = [];
  const error = t.throws(() =>
    parse(TWO, (kek, { type }) => {
      asked.push([kek, type]);
      return kek === 'local:old' ? undefined : 'is not liked';
    }),
  );
  t.is(
    error.message,
    'F:11:43: keys.orders.recipients[0].kek: is not liked\nF:12:84: keys.orders.decrypt_with[1].kek: is not liked',
  );
  t.deepEqual(asked, [
    ['local:orders', 'local'],
    ['local:old', 'local'],
    ['local:older', 'local'],
  ]);
});

test('beside groups that are not there', (t) => {
  const error = t.throws(() => parse(BASE.replace('group: app', 'group: apq'), () => 'is not liked'));
  t.regex(error.message, /^F:3:61: listen\.agent\.group: no group .*\nF:11:43: .*: is not liked$/);
});

test('nobody finds anything wrong: the configuration loads', (t) => {
  t.is(parse(TWO, () => undefined).keys.size, 1);
  t.is(parse(TWO).keys.size, 1);
});

test('upstreams of another type, or that are not there, are the rules’: nobody is asked', (t) => {
  const never = () => t.fail();
  for (const [from, to] of [
    ['"local:orders"', '"pkcs11:object=a"'],
    ['upstream: store', 'upstream: stor'],
  ] as const) {
    t.throws(() => parse(BASE.replace(from, to), never as unknown as KekProblem), { name: 'DekdError' });
  }
});
