import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { associatedData, parseInteger, parsePairs, parseSpan, requestSpan, timeoutMs } from '../../src/cli/flags.ts';
import { CliError } from '../../src/cli/messages.ts';
import { temporaryDirectory } from './run.ts';

const directory = temporaryDirectory(test);
const usage = { instanceOf: CliError };

test('a context entry ends its name at the first =', (t) => {
  t.deepEqual(parsePairs('--context', ['tenant=acme', 'query=a=b', 'empty=']), {
    tenant: 'acme',
    query: 'a=b',
    empty: '',
  });
  t.deepEqual(parsePairs('--context'), {});
  t.deepEqual(parsePairs('--context', ['constructor=x']), { constructor: 'x' } as never);
  t.deepEqual(Object.entries(parsePairs('--context', ['__proto__=x'])), [['__proto__', 'x']]);
});

const badContexts: readonly [string[], string][] = [
  [['tenant'], '--context tenant: expected NAME=VALUE, such as tenant=acme'],
  [['=acme'], '--context =acme: expected NAME=VALUE, such as tenant=acme'],
  [['a=1', 'a=2'], '--context a: given twice'],
  [['__proto__=1', '__proto__=2'], '--context __proto__: given twice'],
  [['a=\ufffd'], '--context a: not UTF-8'],
];
for (const [pairs, message] of badContexts) {
  test(`context ${pairs.join(' ')} is refused`, (t) => {
    const error = t.throws(() => parsePairs('--context', pairs), usage);
    t.is(error.message, message);
    t.is(error.exitCode, 2);
  });
}

test('associated data comes from one of its two flags', (t) => {
  const file = join(directory, 'aad');
  writeFileSync(file, Buffer.from([0, 1, 255]));
  t.deepEqual(associatedData({}), Buffer.alloc(0));
  t.deepEqual(associatedData({ aad: 'row-ü' }), Buffer.from('row-ü'));
  t.deepEqual(associatedData({ aadFile: file }), Buffer.from([0, 1, 255]));
  t.regex(t.throws(() => associatedData({ aad: '', aadFile: file }), usage).message, /give one of the two/);
  t.is(
    t.throws(() => associatedData({ aad: '\ufffd' }), usage).message,
    '--aad: not UTF-8; put the bytes into a file and name it with --aad-file',
  );
  writeFileSync(file, Buffer.alloc(65_537));
  t.regex(t.throws(() => associatedData({ aadFile: file }), usage).message, /has more than 65536 bytes/);
});

test('time-outs have a unit and bounds', (t) => {
  t.is(timeoutMs({ timeout: '1500ms' }), 1500);
  for (const timeout of ['10', '0s', '25h', 'soon', '']) {
    t.regex(t.throws(() => timeoutMs({ timeout }), usage).message, /expected a duration such as 500ms, 10s or 1m/);
  }
});

test('whole numbers in decimal, within bounds', (t) => {
  t.is(parseInteger('--bytes', '1024', 1, 1024), 1024);
  for (const text of ['0', '1025', '1e3', '0x10', '-1', '1.5', '', ' 5']) {
    t.is(
      t.throws(() => parseInteger('--bytes', text, 1, 1024), usage).message,
      `--bytes ${text}: expected a whole number from 1 to 1024`,
    );
  }
});

test('spans have a unit, and lie within the bounds of their flag, which the error says', (t) => {
  const bounds = { minimumMs: 1_000, maximumMs: 3_600_000, example: '2m' };
  for (const [text, ms] of [
    ['1s', 1_000],
    ['1000ms', 1_000],
    ['60m', 3_600_000],
  ] as const) {
    t.is(parseSpan('--for', text, bounds), ms);
  }
  for (const text of ['30', '', '1w', '-7m', '1.5m', '999ms', '61m', '30d']) {
    const error = t.throws(() => parseSpan('--for', text, bounds), usage);
    t.is(error.message, `--for ${text}: expected a duration from 1s to 1h, such as 2m`);
    t.is(error.exitCode, 2);
  }
});

test('associated data of the source has flags of its own', (t) => {
  const both = t.throws(() => associatedData({ aad: 'x', aadFile: 'y' }, '--source-aad'), usage);
  t.is(both.message, '--source-aad and --source-aad-file: give one of the two');
});

test('a span as a request has it', (t) => {
  t.deepEqual(requestSpan(0), { seconds: 0, nanos: 0 });
  t.deepEqual(requestSpan(90_999), { seconds: 90, nanos: 999_000_000 });
});
