import test from 'ava';
import { EXIT } from '../../src/cli/exit-codes.ts';
import { CliError, note, printable, report, reportStart, systemProblem } from '../../src/cli/messages.ts';
import { DekdError } from '../../src/errors.ts';

function written(action: () => void): string {
  const original = process.stderr.write;
  let text = '';
  process.stderr.write = ((chunk: string) => {
    text += chunk;
    return true;
  }) as typeof process.stderr.write;
  try {
    action();
  } finally {
    process.stderr.write = original;
  }
  return text;
}

const cases: readonly [string, unknown, number, string][] = [
  ['an error of ours', new CliError(EXIT.noAgent, 'no agent'), 3, 'p: no agent\n'],
  ['one line for each line', new CliError(EXIT.usage, 'a\nb'), 2, 'p: a\np: b\n'],
  ['a wrong field, without its reason', new DekdError('INVALID_REQUEST', 'key: empty'), 2, 'p: key: empty\n'],
  ['a reason that can be searched for', new DekdError('INVALID_CIPHERTEXT', 'no'), 5, 'p: INVALID_CIPHERTEXT: no\n'],
  ['a surprise, on one line', new Error('what\nnow'), 1, 'p: what\\u{a}now\n'],
  ['something that is no error', 'text', 1, 'p: text\n'],
  [
    'escapes of an agent that is not to be trusted',
    new CliError(EXIT.failure, '\u001b[2J\u202e'),
    1,
    'p: \\u{1b}[2J\\u{202e}\n',
  ],
];
for (const [name, thrown, exitCode, text] of cases) {
  test.serial(name, (t) => {
    let code = -1;
    t.is(
      written(() => {
        code = report('p', thrown);
      }),
      text,
    );
    t.is(code, exitCode);
  });
}

test.serial('whatever reason keeps dekd from starting, it ends with 1', (t) => {
  for (const reason of ['INVALID_REQUEST', 'UPSTREAM_FAULT', 'POLICY_DENIED'] as const) {
    const text = written(() => t.is(reportStart('p', new DekdError(reason, 'why')), EXIT.failure));
    t.is(text, reason === 'INVALID_REQUEST' ? 'p: why\n' : `p: ${reason}: why\n`);
  }
});

test.serial('notes say that they are notes', (t) => {
  t.is(
    written(() => note('p', 'text')),
    'p: note: text\n',
  );
});

test('printable keeps what people write', (t) => {
  t.is(printable('müßig 日本 €…'), 'müßig 日本 €…');
  t.is(printable('a\u0000b\u009bc'), 'a\\u{0}b\\u{9b}c');
});

test('errors of the system in words', (t) => {
  t.is(systemProblem({ code: 'EROFS' }), 'the file system is read-only');
  t.is(systemProblem({ code: 'EWHAT' }), 'failed (EWHAT)');
  t.is(systemProblem({}), 'failed (unknown error)');
});
