// Bad input of every kind over the socket: a clear error each time, and an agent that serves as before.
import { readFileSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import type { Failure } from '../helpers/client.ts';
import { keyConfig, makePlace } from '../helpers/place.ts';
import { test } from '../helpers/serial.ts';

const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;
const RESOURCE_EXHAUSTED = 8;
const CONTEXT = { tenant: 'acme' };
const KEYS = {
  default: keyConfig('default'),
  other: keyConfig('other'),
  tenants: keyConfig('tenants', { partition_by: ['tenant'] }),
};

interface Good {
  readonly agent: Agent;
  readonly ciphertext: Buffer;
  readonly associated_data: Buffer;
}

async function start(t: ExecutionContext): Promise<Good> {
  const agent = await startAgent(t, makePlace(t, { keys: KEYS }));
  const associated_data = Buffer.from('row-1');
  const request = { key: 'default', plaintext: Buffer.from('kept'), encryption_context: CONTEXT, associated_data };
  const { message } = await agent.client.call('Encrypt', request);
  return { agent, ciphertext: message.ciphertext, associated_data };
}

/** Whatever came before: what was encrypted opens, and nothing went wrong inside. */
async function servesAsBefore(t: ExecutionContext, { agent, ciphertext, associated_data }: Good): Promise<void> {
  const request = { ciphertext, encryption_context: CONTEXT, associated_data };
  t.is((await agent.client.call('Decrypt', request)).message.plaintext.toString(), 'kept');
  t.notRegex(agent.stderr(), /internal_error/);
}

function decryptFailure({ agent, associated_data }: Good, ciphertext: Buffer): Promise<Failure> {
  return agent.client.failure('Decrypt', { ciphertext, encryption_context: CONTEXT, associated_data });
}

function edited(ciphertext: Buffer, offset: number, ...bytes: number[]): Buffer {
  const copy = Buffer.from(ciphertext);
  copy.set(bytes, offset);
  return copy;
}

function context(entries: number, value = 'v'): Record<string, string> {
  return Object.fromEntries(Array.from({ length: entries }, (_, index) => [`k${index}`, value]));
}

test('requests that break a limit or a form name the field', async (t) => {
  const good = await start(t);
  const { client } = good.agent;
  const cases: [string, object, RegExp][] = [
    ['Encrypt', { key: '' }, /^key: is empty/],
    ['Encrypt', { key: 'no spaces' }, /^key: is not a key name/],
    ['Encrypt', { key: '../../etc/passwd' }, /^key: is not a key name/],
    ['Encrypt', { key: `${'k'.repeat(129)}` }, /^key: is not a key name/],
    ['Encrypt', { key: 'default', encryption_context: context(65) }, /^encryption_context: has 65 entries, at most 64/],
    ['Encrypt', { key: 'default', encryption_context: { k: 'v'.repeat(8192) } }, /^encryption_context: .*8192/],
    [
      'Encrypt',
      { key: 'default', encryption_context: { '': 'v' } },
      /^encryption_context: has an entry with an empty key/,
    ],
    [
      'Encrypt',
      { key: 'default', encryption_context: { 'dekd:id': 'v' } },
      /^encryption_context: key "dekd:id" has a reserved prefix/,
    ],
    [
      'Encrypt',
      { key: 'default', encryption_context: { 'aws:x': 'v' } },
      /^encryption_context: key "aws:x" has a reserved prefix/,
    ],
    [
      'Encrypt',
      { key: 'default', associated_data: Buffer.alloc(65_537) },
      /^associated_data: has 65537 bytes, at most 65536/,
    ],
    [
      'Encrypt',
      { key: 'default', plaintext: Buffer.alloc(4_063_233) },
      /^plaintext: has 4063233 bytes, at most 4063232/,
    ],
    ['Encrypt', { key: 'tenants' }, /^encryption_context: entry "tenant" is missing/],
    [
      'Encrypt',
      { key: 'tenants', encryption_context: { tenant: '' } },
      /^encryption_context: entry "tenant" has 0 bytes/,
    ],
    ['GenerateDataKey', { key: 'default', number_of_bytes: 1025 }, /^number_of_bytes: is 1025/],
    ['GenerateDataKey', { key: '' }, /^key: is empty/],
    [
      'GenerateDataKeyWithoutPlaintext',
      { key: 'default', number_of_bytes: 2 ** 32 - 1 },
      /^number_of_bytes: is 4294967295/,
    ],
    ['Decrypt', {}, /^ciphertext: is empty/],
    ['Decrypt', { ciphertext: good.ciphertext, expected_key: ' ' }, /^expected_key: is not a key name/],
    ['DescribeKey', { key: '' }, /^key: is empty/],
  ];
  for (const [rpc, request, message] of cases) {
    const failure = await client.failure(rpc, request);
    t.like(failure, { code: INVALID_ARGUMENT, reason: 'INVALID_REQUEST', domain: 'dekd' }, String(message));
    t.regex(failure.message, message);
    t.is(failure.metadata['field'], failure.message.slice(0, failure.message.indexOf(':')));
  }
  await servesAsBefore(t, good);
});

test('4 MiB of empty items, entries and fields are refused by name, and nothing is built of them', async (t) => {
  const good = await start(t);
  const before = peakResidentBytes(good.agent.pid);
  const cases: [string, string, string, RegExp][] = [
    ['EncryptBatch', '0a00', 'items', /^items: has 2097152 items, at most 1,000 are allowed$/],
    ['DecryptBatch', '0a00', 'items', /^items: has 2097152 items, at most 1,000 are allowed$/],
    ['Encrypt', '1a00', 'encryption_context', /^encryption_context: has 2097152 entries, at most 64 are allowed$/],
    ['Encrypt', '0a00', 'message', /^message: has 2097152 fields, at most 96 are allowed$/],
  ];
  for (const [rpc, hex, field, message] of cases) {
    const failure = await good.agent.client.rawFailure(rpc, Buffer.alloc(4 * 2 ** 20).fill(Buffer.from(hex, 'hex')));
    t.like(failure, { code: INVALID_ARGUMENT, reason: 'INVALID_REQUEST', metadata: { field } });
    t.regex(failure.message, message);
  }
  // One such batch took 2.5 GiB.
  t.true(peakResidentBytes(good.agent.pid) - before < 100 * 2 ** 20);
  await servesAsBefore(t, good);
});

function peakResidentBytes(pid: number): number {
  return 1_024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

test('an error is no longer than an answer may be, whatever it quotes', async (t) => {
  const { agent } = await start(t);
  for (const length of [100, 10_000, 100_000, 4_000_000]) {
    const upstream = 'é'.repeat(length / 2);
    const failure = await agent.admin.failure('BackupKeystore', { upstream });
    t.like(failure, { code: INVALID_ARGUMENT, reason: 'INVALID_REQUEST', metadata: { field: 'upstream' } });
    t.regex(failure.message, /^upstream: "é+(…é+)?" is not a local upstream; there is: store$/);
    t.true(Buffer.byteLength(failure.message) <= 1_024);
    const drill = await agent.admin.failure('StopDrill', { upstream });
    t.is(drill.reason, 'INVALID_REQUEST');
    t.true(Buffer.byteLength(drill.message) <= 1_024);
  }
});

test('a message of 5 MiB, an unknown key, a key that is not the expected one', async (t) => {
  const good = await start(t);
  const { client } = good.agent;
  const large = await client.failure('Encrypt', { key: 'default', plaintext: Buffer.alloc(5 * 2 ** 20) });
  t.like(large, { code: RESOURCE_EXHAUSTED, reason: 'MESSAGE_TOO_LARGE', domain: 'dekd' });
  t.regex(large.message, /at most 4194304 bytes/);
  const unknown = await client.failure('Encrypt', { key: 'absent' });
  t.like(unknown, { code: NOT_FOUND, reason: 'KEY_NOT_FOUND' });
  t.regex(unknown.message, /no key "absent"; list the keys with: dekctl keys list/);
  const request = { ciphertext: good.ciphertext, encryption_context: CONTEXT, associated_data: good.associated_data };
  const mismatch = await client.failure('Decrypt', { ...request, expected_key: 'other' });
  t.like(mismatch, { code: INVALID_ARGUMENT, reason: 'KEY_MISMATCH', metadata: { key: 'default' } });
  await servesAsBefore(t, good);
});

test('strings that are not UTF-8, and bytes that are no message', async (t) => {
  const good = await start(t);
  const entry = (key: string, value: string) => `0a${length(key)}${key}12${length(value)}${value}`;
  const length = (hex: string) => (hex.length / 2).toString(16).padStart(2, '0');
  const encrypt = (hex: string) => Buffer.from(`0a07${Buffer.from('default').toString('hex')}${hex}`, 'hex');
  const withEntry = (hex: string) => encrypt(`1a${length(hex)}${hex}`);
  const cases: [string, Buffer, string, RegExp][] = [
    ['a key name', Buffer.from('0a02fffe', 'hex'), 'key', /UTF-8/],
    ['a context value', withEntry(entry('61', 'c328')), 'encryption_context', /UTF-8/],
    ['a context key', withEntry(entry('ff', '61')), 'encryption_context', /UTF-8/],
    ['half a surrogate pair', withEntry(entry('61', 'eda080')), 'encryption_context', /UTF-8/],
    ['an overlong form', withEntry(entry('61', 'c0af')), 'encryption_context', /UTF-8/],
    ['a length past the end', encrypt('12ff01aa'), 'plaintext', /./],
    ['another wire type', encrypt('1001'), 'plaintext', /./],
    ['no message at all', Buffer.from('ffffffffffffffffffffff', 'hex'), 'message', /./],
  ];
  for (const [name, bytes, field, problem] of cases) {
    const failure = await good.agent.client.rawFailure('Encrypt', bytes);
    t.like(failure, { code: INVALID_ARGUMENT, reason: 'INVALID_REQUEST', domain: 'dekd' }, name);
    t.true(failure.metadata['field']?.startsWith(field), `${name}: ${failure.message}`);
    t.regex(failure.message, problem, name);
  }
  await servesAsBefore(t, good);
});

test('envelopes: truncated at every byte, too long, of unknown version, suite, content and flags', async (t) => {
  const good = await start(t);
  const { ciphertext } = good;
  for (let length = 1; length < ciphertext.length; length++) {
    const failure = await decryptFailure(good, ciphertext.subarray(0, length));
    t.like(failure, { code: INVALID_ARGUMENT, reason: 'INVALID_CIPHERTEXT', domain: 'dekd' }, `${length} bytes`);
  }
  const named: [Buffer, RegExp][] = [
    [edited(ciphertext, 0, 0x44), /not an envelope|first four bytes|"dekd"/],
    [edited(ciphertext, 4, 0), /version 0/],
    [edited(ciphertext, 4, 2), /version 2/],
    [edited(ciphertext, 5, 0), /suite 0/],
    [edited(ciphertext, 5, 3), /suite 3.*XChaCha20-Poly1305/],
    [edited(ciphertext, 5, 4), /suite 4.*stream/],
    [edited(ciphertext, 5, 255), /suite 255/],
    [edited(ciphertext, 6, 0), /content 0/],
    [edited(ciphertext, 6, 3), /content 3/],
    [edited(ciphertext, 7, 2), /flag/],
    [edited(ciphertext, 7, 0x81), /flag/],
    [edited(ciphertext, 7, 0), /detached/],
    [edited(ciphertext, 40, 0, 0), /dek-block of length 0/],
    [edited(ciphertext, 40, 0xff, 0xff), /dek-block of 65535 bytes, at most 16384/],
    [edited(ciphertext, 42, 9), /version 9/],
  ];
  for (const [envelope, message] of named) {
    const failure = await decryptFailure(good, envelope);
    t.like(failure, { code: INVALID_ARGUMENT, reason: 'INVALID_CIPHERTEXT' }, String(message));
    t.regex(failure.message, message);
  }
  const oversized = await decryptFailure(good, Buffer.concat([ciphertext, Buffer.alloc(3 * 2 ** 20)]));
  t.like(oversized, { code: INVALID_ARGUMENT, reason: 'INVALID_CIPHERTEXT' });
  await servesAsBefore(t, good);
});

test('one answer for all that depends on a key: context, associated data, foreign KEK, any changed byte', async (t) => {
  const good = await start(t);
  const { client } = good.agent;
  const { ciphertext, associated_data } = good;
  const foreign = await startAgent(t, makePlace(t));
  const { message: theirs } = await foreign.client.call('Encrypt', { key: 'default', encryption_context: CONTEXT });
  const tag = ciphertext.length - 1;
  const requests = [
    { ciphertext, encryption_context: { tenant: 'other' }, associated_data },
    { ciphertext, encryption_context: {}, associated_data },
    { ciphertext, encryption_context: { ...CONTEXT, more: '1' }, associated_data },
    { ciphertext, encryption_context: CONTEXT, associated_data: Buffer.from('row-2') },
    { ciphertext, encryption_context: CONTEXT },
    { ciphertext: theirs.ciphertext, encryption_context: CONTEXT },
    { ciphertext: edited(ciphertext, tag, (ciphertext[tag] ?? 0) ^ 1), encryption_context: CONTEXT, associated_data },
    { ciphertext: edited(ciphertext, 8, (ciphertext[8] ?? 0) ^ 1), encryption_context: CONTEXT, associated_data },
    { ciphertext: Buffer.concat([ciphertext, Buffer.alloc(1)]), encryption_context: CONTEXT, associated_data },
  ];
  const answers = await Promise.all(requests.map((request) => client.failure('Decrypt', request)));
  for (const { code, reason } of answers) t.deepEqual([code, reason], [INVALID_ARGUMENT, 'INVALID_CIPHERTEXT']);
  t.is(new Set(answers.map(({ message, metadata }) => JSON.stringify([message, metadata]))).size, 1);

  for (let at = 0; at < ciphertext.length; at++) {
    const { code, reason } = await decryptFailure(good, edited(ciphertext, at, (ciphertext[at] ?? 0) ^ 0x10));
    // A changed key name is another key.
    if (reason === 'KEY_NOT_FOUND') t.is(code, NOT_FOUND);
    else t.deepEqual([code, reason], [INVALID_ARGUMENT, 'INVALID_CIPHERTEXT'], `byte ${at}`);
  }
  await servesAsBefore(t, good);
});
