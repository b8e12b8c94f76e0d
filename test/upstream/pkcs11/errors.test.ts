import { readFileSync } from 'node:fs';
import test from 'ava';
import { UpstreamFailure } from '../../../src/upstream/failure.ts';
import {
  failureOf,
  KeyAbsent,
  KeyUnfit,
  LoginLost,
  MEANINGS,
  precaution,
  returnValue,
} from '../../../src/upstream/pkcs11/errors.ts';

test('a return value is read from each form that pkcs11js gives it', (t) => {
  t.is(returnValue(new Error('CKR_GENERAL_ERROR:5')), 5);
  t.is(returnValue(new Error('Unknown error:2147483649')), undefined);
  t.is(returnValue(new Error('CKR_VENDOR_DEFINED:2147483649')), 0x8000_0001);
  t.is(returnValue(Object.assign(new Error('CKR_PIN_INCORRECT'), { code: 160 })), 160);
  t.is(returnValue(Object.assign(new Error('libhsm.so: cannot open'), { code: 0 })), undefined);
  for (const thrown of [
    new TypeError('bad argument'),
    'CKR_OK:0',
    undefined,
    null,
    new UpstreamFailure('invalid', 'x:1'),
  ]) {
    t.is(returnValue(thrown), undefined);
  }
});

test('what is not on the list is unreachable', (t) => {
  for (const thrown of [
    new Error('CKR_FUNCTION_NOT_SUPPORTED:84'),
    new Error('CKR_VENDOR_DEFINED:2147483649'),
    1,
    new TypeError('x'),
  ]) {
    const failure = failureOf('pkcs11:object=a;token=t', 'unwrap', thrown);
    t.is(failure.class, 'unreachable');
    t.is(failure.scope, undefined);
    t.is(precaution(thrown), undefined);
  }
});

test('only an absent key and a forbidden use are refusals, of the KEK', (t) => {
  const refusals = [...MEANINGS.values()].filter((meaning) => meaning.class === 'refused');
  t.deepEqual(
    refusals.map(({ name }) => name),
    ['CKR_KEY_FUNCTION_NOT_PERMITTED'],
  );
  const absent = failureOf('pkcs11:object=a;token=t', 'unwrap', new KeyAbsent('there is no such key'));
  t.like(absent, { class: 'refused', scope: 'kek', condition: 'missing' });
  t.is(precaution(new KeyAbsent('there is no such key')), 'login');
});

test('a key that is not fit for its use is unreachable, and another login would not help', (t) => {
  const unfit = new KeyUnfit('the token has several keys of this name');
  const failure = failureOf('pkcs11:object=a;token=t', 'wrap', unfit);
  t.like(failure, { class: 'unreachable', cause: unfit });
  t.is(failure.message, 'pkcs11:object=a;token=t: the token has several keys of this name');
  t.is(precaution(unfit), undefined);
});

test('what a session that was logged out does not find is looked for after a new login, and is no refusal', (t) => {
  const lost = new LoginLost('token t: the login was lost');
  t.is(precaution(lost), 'login');
  t.like(failureOf('pkcs11:object=a;token=t', 'unwrap', lost), { class: 'unreachable', scope: undefined, cause: lost });
});

test('docs/upstreams/pkcs11.md has the table, line by line', (t) => {
  const page = readFileSync(new URL('../../../docs/upstreams/pkcs11.md', import.meta.url), 'utf8');
  const shown = page.split('\n').filter((line) => line.startsWith('| `CKR_'));
  const lines = [...MEANINGS].map(([code, { name, class: failureClass, scope, condition, first, source }]) => {
    const refusal = scope === undefined ? '' : ` (${scope}, ${condition})`;
    return `| \`${name}\` | 0x${code.toString(16)} | ${failureClass}${refusal} | ${first ?? ''} | ${source} |`;
  });
  t.deepEqual(shown, lines);
});
