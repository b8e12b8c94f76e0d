import test from 'ava';
import { age, enumText, instant, pairsText, span, suiteText, table } from '../../src/cli/render.ts';

test('a table has one column of values, and no line for what is not known', (t) => {
  t.is(
    table([
      ['a', '1'],
      ['longer', 'x\ny'],
      ['none', undefined],
      ['empty', ''],
    ]),
    'a       1\nlonger  x\\u{a}y\nempty',
  );
  t.is(table([]), '');
});

test('spans, ages and instants', (t) => {
  t.is(span({ seconds: '300', nanos: 0 }), '5m');
  t.is(span(null), undefined);
  t.is(age({ seconds: '0', nanos: 250_400_000 }), '250ms');
  t.is(age({ seconds: '59', nanos: 900_000_000 }), '1m');
  t.is(age(undefined), undefined);
  t.is(instant({ seconds: '0', nanos: 0 }), '1970-01-01T00:00:00.000Z');
  t.is(instant(null), undefined);
});

test('enums and pairs', (t) => {
  t.is(enumText('KEY_STATE_PENDING_DELETION', 'KEY_STATE_'), 'pending deletion');
  t.is(suiteText('SUITE_XAES_256_GCM'), 'XAES_256_GCM');
  t.is(pairsText({ b: '2', a: '1' }), 'a=1, b=2');
});
