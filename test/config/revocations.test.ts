import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { parseRevocations, readRevocations } from '../../src/config/revocations.ts';
import { DekdError } from '../../src/errors.ts';
import { base, parse, problemsOf } from './parse.ts';

const KEYS = new Map([
  ['orders', { partitionBy: ['tenant', 'region'] }],
  ['invoices', { partitionBy: [] }],
]);

const directory = mkdtempSync(join(tmpdir(), 'dekd-revocations-'));
test.after.always(() => rmSync(directory, { recursive: true }));

function says(text: string) {
  return parseRevocations(text, 'F', KEYS);
}

function problems(text: string): string[] {
  try {
    says(text);
  } catch (error) {
    if (error instanceof DekdError && error.reason === 'INVALID_REQUEST') return error.message.split('\n');
    throw error;
  }
  return [];
}

test('keys and partitions', (t) => {
  const text = `revoked:
  - { key: invoices }
  - key: orders
    partition: { tenant: acme }
  - { key: orders, partition: { tenant: "42", region: "é" } }
`;
  t.deepEqual(says(text), {
    revoked: [
      { key: 'invoices', partition: undefined },
      { key: 'orders', partition: new Map([['tenant', 'acme']]) },
      { key: 'orders', partition: new Map(Object.entries({ tenant: '42', region: 'é' })) },
    ],
    warnings: [],
  });
  t.deepEqual(says('revoked: []'), { revoked: [], warnings: [] });
  t.deepEqual(says('{"revoked":[{"key":"orders"}]}').revoked, [{ key: 'orders', partition: undefined }]);
});

test('what the configuration does not have is a warning with its place, and revokes what it can', (t) => {
  const { revoked, warnings } = says(`revoked:
  - { key: order }
  - { key: elsewhere, partition: { tenant: acme } }
  - { key: orders, partition: { tenent: acme } }
  - { key: orders, partition: { tenant: acme, customer: x } }
  - { key: invoices, partition: { tenant: acme } }
`);
  t.is(revoked.length, 5);
  const only = 'so only what was encrypted when it was is revoked';
  t.deepEqual(warnings, [
    'F:2:12: revoked[0].key: no key is called order, so nothing is revoked; did you mean orders?',
    'F:3:12: revoked[1].key: no key is called elsewhere, so nothing is revoked; known: orders, invoices',
    `F:4:33: revoked[2].partition.tenent: key orders is not partitioned by this, ${only}; did you mean tenant?`,
    `F:5:47: revoked[3].partition.customer: key orders is not partitioned by this, ${only}; it is by: tenant, region`,
    `F:6:35: revoked[4].partition.tenant: key invoices is not partitioned by this, ${only}; it has no partitions`,
  ]);
});

const LIST = 'a list of { key, partition }, [] when nothing is revoked';
const PARTITION =
  'a map of one or more context entries that the key is partitioned by; without it the whole key is revoked';
const NAME = 'the name of a context entry, 1 to 256 bytes, without the prefixes dekd: and aws:';
const VALUE = 'the text of a context entry, 1 to 256 bytes, in quotes where YAML reads a number or a date';
const WRONG: Readonly<Record<string, string>> = {
  // What an editor or a shell leaves for a moment must not bring back what was revoked.
  '': 'F:1:1: found an empty file, expected a map with revoked',
  '\n': 'F:1:1: found an empty file, expected a map with revoked',
  'revoked:': `F:1:9: revoked: found nothing, expected ${LIST}`,
  'revoked: {}': `F:1:10: revoked: found an empty map, expected ${LIST}`,
  'revoked: []\nrevoke: []': 'F:2:1: revoke: unknown field; did you mean revoked?',
  '- { key: orders }': 'F:1:1: found a list of 1, expected a map with revoked',
  'revoked: [orders]': 'F:1:11: revoked[0]: found "orders", expected a map with key and partition',
  'revoked: [{}]': 'F:1:11: revoked[0].key: found nothing, expected the name of a key',
  'revoked: [{ key: "*" }]': 'F:1:18: revoked[0].key: found "*", expected the name of a key',
  'revoked: [{ key: orders, tenant: acme }]': 'F:1:26: revoked[0].tenant: unknown field; known here: key, partition',
  // It would be the whole key.
  'revoked: [{ key: orders, partition: {} }]': `F:1:37: revoked[0].partition: found an empty map, expected ${PARTITION}`,
  'revoked: [{ key: orders, partition: }]': `F:1:37: revoked[0].partition: found nothing, expected ${PARTITION}`,
  'revoked: [{ key: orders, partition: { tenant: 42 } }]': `F:1:47: revoked[0].partition.tenant: found 42, expected ${VALUE}`,
  'revoked: [{ key: orders, partition: { tenant: "" } }]': `F:1:47: revoked[0].partition.tenant: found "", expected ${VALUE}`,
  'revoked: [{ key: orders, partition: { "dekd:key": x } }]': `F:1:39: revoked[0].partition["dekd:key"]: found "dekd:key", expected ${NAME}`,
  [`revoked: [{ key: orders, partition: { tenant: "${'é'.repeat(129)}" } }]`]: `F:1:47: revoked[0].partition.tenant: found "${'é'.repeat(40)}…", expected ${VALUE}`,
  'revoked: [{ key: orders': 'F:1:24: not YAML: the indentation does not fit the lines before',
  'revoked: []\nrevoked: [{ key: orders }]': 'F:2:1: this field stands twice in one map',
};

for (const [text, problem] of Object.entries(WRONG)) {
  test(`wrong: ${JSON.stringify(text).slice(0, 70)}`, (t) => t.is(problems(text)[0], problem));
}

test('all that is wrong is told at once', (t) => {
  t.is(problems('revoked: [{ key: "*" }, { key: orders, partition: { a: 1, b: 2 } }]').length, 3);
});

test('reading: what stands there, or one line with the file', async (t) => {
  const file = join(directory, 'revocations.yaml');
  const message = async (path: string) =>
    (await t.throwsAsync(readRevocations(path), { instanceOf: DekdError }))?.message;
  t.is(await message(file), `${file}: no such file; name an existing revocations file`);
  t.is(await message(directory), `${directory}: a directory; name the file inside it`);
  const pipe = join(directory, 'pipe');
  execFileSync('mkfifo', [pipe]);
  t.is(await readRevocations(pipe), '');
  writeFileSync(file, 'revoked: []\n');
  t.is(await readRevocations(file), 'revoked: []\n');
  writeFileSync(file, `#${' '.repeat(256 * 1024 - 1)}`);
  t.is((await readRevocations(file)).length, 256 * 1024);
  writeFileSync(file, `#${' '.repeat(256 * 1024)}`);
  t.is(await message(file), `${file}: over 256 KiB; a revocations file is smaller`);
  t.is(await message('/dev/zero'), '/dev/zero: over 256 KiB; a revocations file is smaller');
  writeFileSync(file, Buffer.from([0x61, 0x0a, 0xff]));
  t.is(await message(file), `${file}:2:1: not UTF-8 text; save the file as UTF-8`);
});

test('the file is named by an absolute path in production', (t) => {
  t.is(parse(base({ revocations: '/etc/dekd/revocations.yaml' })).revocations, '/etc/dekd/revocations.yaml');
  t.is(parse(base()).revocations, undefined);
  t.deepEqual(problemsOf(base({ revocations: 'revocations.yaml' })), [
    'revocations: a relative path; production needs an absolute one',
  ]);
  t.is(parse(base({ profile: 'development', revocations: 'r.yaml' })).revocations, 'r.yaml');
});
