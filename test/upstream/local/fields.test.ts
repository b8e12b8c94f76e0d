import test from 'ava';
import { encodeFields, type Field } from '../../../src/upstream/local/fields.ts';

test('the encoding is that of docs/upstreams/local.md', (t) => {
  t.is(encodeFields([]).toString('hex'), '00000000');
  t.is(
    encodeFields(['kek', 2n, null, Buffer.of(0xff)]).toString('hex'),
    '00000004' + '0200000003' + '6b656b' + '0100000008' + '0000000000000002' + '0000000000' + '0300000001' + 'ff',
  );
  t.is(encodeFields([-1n]).toString('hex'), '00000001' + '0100000008' + 'ffffffffffffffff');
});

test('no two lists of fields have one encoding', (t) => {
  const lists: Field[][] = [
    [],
    [''],
    [null],
    ['', ''],
    [Buffer.alloc(0)],
    ['ab', 'c'],
    ['a', 'bc'],
    ['abc'],
    [Buffer.from('abc')],
    ['1'],
    [1n],
    [Buffer.of(0, 0, 0, 0, 0, 0, 0, 1)],
    ['\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0001'],
    ['a', null],
    [null, 'a'],
  ];
  const encodings = new Set(lists.map((fields) => encodeFields(fields).toString('hex')));
  t.is(encodings.size, lists.length);
});
