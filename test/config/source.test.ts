import test from 'ava';
import { parseConfig } from '../../src/config/load.ts';
import { parseSource } from '../../src/config/source.ts';
import { DekdError } from '../../src/errors.ts';

/** The most that a file may have. */
const BYTES = 256 * 1024;
/** The worst takes a second on an idle machine; what compares everything with everything takes minutes. */
const ENOUGH_MS = 20_000;

/** As often as it fits. */
function fill(item: (index: number) => string, before = '', after = ''): string {
  const items: string[] = [];
  let room = BYTES - before.length - after.length;
  for (let index = 0; ; index++) {
    const next = item(index);
    room -= next.length;
    if (room < 0) return before + items.join('') + after;
    items.push(next);
  }
}

function refusal(text: string): string {
  try {
    parseConfig(text, 'F');
  } catch (error) {
    if (error instanceof DekdError && error.reason === 'INVALID_REQUEST') return error.message;
    throw error;
  }
  return '';
}

const repeated = (text: string) => fill(() => text);
const DEEP = /^F:\d+:\d+: not a configuration: nested too deeply$/;
const NO_YAML = /^F:\d+:\d+: not YAML: /;

const hostile: Readonly<Record<string, readonly [text: string, first: RegExp]>> = {
  'tags in a row': [repeated('!a '), NO_YAML],
  'anchors in a row': [repeated('&a '), NO_YAML],
  'question marks': [repeated('? '), DEEP],
  'open maps': [repeated('{a: '), DEEP],
  'lists in lists': [repeated('- '), DEEP],
  indentation: [fill((index) => `${' '.repeat(index)}a:\n`), DEEP],
  'closing brackets': [repeated(']'), NO_YAML],
  'open quotes': [repeated('"\n'), NO_YAML],
  'tagged items': [repeated('- !a b\n'), /^F:1:3: found a YAML tag/],
  'the same field again': [repeated('a: 1\n'), /^F:2:1: this field stands twice in one map$/],
  'other fields': [fill((index) => `a${index}: 1\n`), /^F:1:1: profile: found nothing/],
  'other fields on one line': [fill((index) => `a${index}: 1, `, '{ ', '}'), /^F:1:1: profile: found nothing/],
  'keys without anything': [fill((index) => ` k${index}: {}\n`, 'keys:\n'), /^F:1:1: profile: found nothing/],
  'more items than fit': [repeated('-\n'), /^F:\d+:\d+: not a configuration: more than 50000 fields and items$/],
  'anchors with an alias each': [
    fill((index) => `- &a${index} x\n- *a${index}\n`),
    /^F:\d+:\d+: more than 100 aliases$/,
  ],
  'a long list again and again': [
    fill((index) => `- ${index}\n`, 'a: &a\n', `b: [${'*a,'.repeat(99)}]`),
    /^F:1:1: not a configuration: more than 50000 fields and items$/,
  ],
};

for (const [name, [text, first]] of Object.entries(hostile)) {
  test(`${name}: refused in time, in few lines`, (t) => {
    const start = performance.now();
    const lines = refusal(text).split('\n');
    t.true(performance.now() - start < ENOUGH_MS);
    t.regex(lines[0] ?? '', first);
    t.true(lines.length <= 101);
    t.true(lines.every((line) => line.length < 500));
  });
}

test('after a hundred faults only how many more there are', (t) => {
  const unknown = Array.from({ length: 1_500 }, (_, index) => `a${index}: 1\n`);
  const lines = refusal(`profile: development\n${unknown.join('')}`).split('\n');
  t.is(lines.length, 101);
  t.regex(lines[100] ?? '', /^F: and 1403 more$/);
});

test('a long number is shown by its beginning', (t) => {
  t.regex(
    refusal(`profile: ${'1'.repeat(100_000)}\n`),
    /^F:1:10: profile: found 1{40}…, expected production or development$/m,
  );
});

test('aliases: followed by positions, counted, and refused inside of what they stand for', (t) => {
  const source = parseSource('a: &a { b: 1 }\nc: *a\n');
  t.deepEqual(source.value, { a: { b: 1 }, c: { b: 1 } });
  t.deepEqual(source.position({ path: ['c', 'b'], text: '' }), { line: 1, column: 12 });
  t.deepEqual(source.position({ path: ['c', 'd'], text: '' }), { line: 1, column: 7 });
  const textsOf = (text: string) => parseSource(text).problems.map((problem) => problem.text);
  t.deepEqual(textsOf('a: &a [*a]\n'), ['an alias inside of what it stands for']);
  t.deepEqual(textsOf('a: *b\nb: &b 1\n'), ['an alias of an anchor that is not there']);
  t.deepEqual(textsOf(`a: &a 1\nb: [${'*a,'.repeat(100)}]\n`), []);
  t.deepEqual(textsOf(`a: &a 1\nb: [${'*a,'.repeat(101)}]\n`), ['more than 100 aliases']);
});
