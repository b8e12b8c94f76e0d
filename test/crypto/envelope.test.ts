import test from 'ava';
import { type DekBlock, sealDekBlock } from '../../src/crypto/dek-block.ts';
import {
  type EnvelopePrefix,
  envelopePrefix,
  openEnvelope,
  parseEnvelope,
  sealDataKey,
  sealMessage,
} from '../../src/crypto/envelope.ts';
import { createKey, dekId, freeKey, type SlotHandle } from '../../src/crypto/native.ts';
import { DekdError } from '../../src/errors.ts';
import { codeOf, openTestArena } from '../native/load-key.ts';

const CONTEXT = new Map([
  ['tenant', 'acme'],
  ['table', 'orders'],
]);
const DATA = Buffer.from('row-1');
const NONE = new Uint8Array(0);
const BLOCK: DekBlock = {
  createdMs: 1_767_225_600_000,
  generation: 0,
  keyName: 'orders',
  partition: new Map([['tenant', 'acme']]),
  recipients: [
    {
      type: 1,
      wrapAlgorithm: 6,
      kekUri: 'local:0123456789abcdef/orders',
      kekVersion: '1',
      wrapped: Buffer.alloc(72, 7),
    },
  ],
};

let dek: SlotHandle;

test.before(() => {
  openTestArena();
  dek = createKey('dek');
});

test.after(() => freeKey(dek));

function prefix(suite: number, inline: boolean): EnvelopePrefix {
  return envelopePrefix(suite, dekId(dek), inline ? sealDekBlock(BLOCK, dek) : undefined);
}

for (const suite of [1, 2]) {
  for (const inline of [true, false]) {
    for (const length of [0, 1, 63, 64, 65, 4096, 1_000_000]) {
      test(`a message comes back: suite ${suite}, inline ${inline}, ${length} bytes`, (t) => {
        const plaintext = Buffer.alloc(length, 'message');
        const sealed = sealMessage(dek, prefix(suite, inline), CONTEXT, DATA, plaintext);
        const envelope = parseEnvelope(sealed);
        t.is(envelope.content, 1);
        t.is(envelope.block !== undefined, inline);
        t.is(sealed.length, envelope.sealedOffset + (suite === 1 ? 24 : 12) + 16 + length);
        t.true(openEnvelope(dek, envelope, CONTEXT, DATA).equals(plaintext));
      });
    }

    test(`a data key comes back: suite ${suite}, inline ${inline}`, (t) => {
      for (const length of [1, 32, 1024]) {
        const { ciphertext, plaintext } = sealDataKey(dek, prefix(suite, inline), CONTEXT, DATA, length, true);
        t.is(plaintext?.length, length);
        const envelope = parseEnvelope(ciphertext);
        t.is(envelope.content, 2);
        t.true(openEnvelope(dek, envelope, CONTEXT, DATA).equals(plaintext!));
      }
    });
  }
}

test('a data key without plaintext opens to as many random bytes', (t) => {
  const sealed = [1, 2].map(() => sealDataKey(dek, prefix(1, true), CONTEXT, NONE, 32, false));
  t.deepEqual(
    sealed.map(({ plaintext }) => plaintext),
    [undefined, undefined],
  );
  const [first, second] = sealed.map(({ ciphertext }) =>
    openEnvelope(dek, parseEnvelope(ciphertext), CONTEXT, NONE),
  ) as [Buffer, Buffer];
  t.is(first.length, 32);
  t.false(first.equals(second));
  t.false(first.equals(Buffer.alloc(32)));
});

test('the prefix of a DEK serves messages and data keys in turn', (t) => {
  const shared = prefix(1, true);
  const before = Buffer.from(shared.bytes);
  sealDataKey(dek, shared, CONTEXT, DATA, 32, false);
  const message = sealMessage(dek, shared, CONTEXT, DATA, Buffer.from('hello'));
  t.deepEqual(shared.bytes, before);
  t.is(openEnvelope(dek, parseEnvelope(message), CONTEXT, DATA).toString(), 'hello');
});

test('a dek-block may come, go and change without touching the payload', (t) => {
  const inline = sealMessage(dek, prefix(1, true), CONTEXT, DATA, Buffer.from('hello'));
  const { sealedOffset } = parseEnvelope(inline);
  const payload = inline.subarray(sealedOffset);
  const detached = Buffer.concat([prefix(1, false).bytes, payload]);
  t.is(openEnvelope(dek, parseEnvelope(detached), CONTEXT, DATA).toString(), 'hello');
  const [recipient] = BLOCK.recipients;
  const rewrapped = sealDekBlock({ ...BLOCK, recipients: [{ ...recipient!, kekVersion: '2' }] }, dek);
  const other = Buffer.concat([envelopePrefix(1, dekId(dek), rewrapped).bytes, payload]);
  t.is(openEnvelope(dek, parseEnvelope(other), CONTEXT, DATA).toString(), 'hello');
});

test('a plaintext has memory of its own, outside any pool', (t) => {
  const sealed = parseEnvelope(sealMessage(dek, prefix(1, false), CONTEXT, DATA, Buffer.from('hello')));
  t.is(openEnvelope(dek, sealed, CONTEXT, DATA).buffer.byteLength, 5);
  t.is(sealDataKey(dek, prefix(1, false), CONTEXT, DATA, 32, true).plaintext?.buffer.byteLength, 32);
});

test('an envelope that begins somewhere in a larger buffer opens', (t) => {
  const sealed = sealMessage(dek, prefix(1, true), CONTEXT, DATA, Buffer.from('hello'));
  const larger = Buffer.concat([Buffer.alloc(13, 1), sealed, Buffer.alloc(7, 2)]);
  const envelope = parseEnvelope(larger.subarray(13, 13 + sealed.length));
  t.is(openEnvelope(dek, envelope, CONTEXT, DATA).toString(), 'hello');
  t.is(envelope.block?.buffer, larger.buffer);
});

test('the largest associated data is taken, and a byte more is refused by name', (t) => {
  const most = Buffer.alloc(65_536, 1);
  const sealed = parseEnvelope(sealMessage(dek, prefix(1, true), CONTEXT, most, Buffer.from('hello')));
  t.is(openEnvelope(dek, sealed, CONTEXT, most).toString(), 'hello');
  const more = Buffer.alloc(65_537, 1);
  const calls = [
    () => sealMessage(dek, prefix(1, true), CONTEXT, more, NONE),
    () => openEnvelope(dek, sealed, CONTEXT, more),
    () => sealDataKey(dek, prefix(1, true), CONTEXT, more, 32, true),
  ];
  for (const call of calls) {
    const error = t.throws(call, { instanceOf: DekdError });
    t.deepEqual([error.reason, error.metadata], ['INVALID_REQUEST', { field: 'associated_data' }]);
  }
});

test('a context over its limits is refused by name', (t) => {
  const context = new Map(Array.from({ length: 65 }, (_, index) => [`key ${index}`, '']));
  const error = t.throws(() => sealMessage(dek, prefix(1, true), context, NONE, NONE), { instanceOf: DekdError });
  t.deepEqual([error.reason, error.metadata], ['INVALID_REQUEST', { field: 'encryption_context' }]);
});

test('a failed call leaves the next one as it should be', (t) => {
  const sealed = parseEnvelope(sealMessage(dek, prefix(1, true), CONTEXT, DATA, Buffer.from('hello')));
  t.throws(() => openEnvelope(dek, sealed, new Map(), DATA), { instanceOf: DekdError });
  t.throws(() => openEnvelope(dek, sealed, new Map([['k', 'v'.repeat(9000)]]), DATA), { instanceOf: DekdError });
  t.is(openEnvelope(dek, sealed, CONTEXT, DATA).toString(), 'hello');
});

test('a handle that was freed is our own fault', (t) => {
  const gone = createKey('dek');
  const id = dekId(gone);
  freeKey(gone);
  const call = () => sealMessage(gone, envelopePrefix(1, id, undefined), CONTEXT, DATA, NONE);
  const error = t.throws(call, { instanceOf: DekdError });
  t.is(error.reason, 'INTERNAL');
  t.is(
    codeOf(() => {
      throw error.cause;
    }),
    'ERR_STALE_HANDLE',
  );
});

test('the length of a dek-block is checked before anybody looks into it', (t) => {
  const envelope = (length: number) => {
    const bytes = Buffer.concat([prefix(1, true).bytes.subarray(0, 42), Buffer.alloc(length + 40)]);
    bytes.writeUInt16BE(length, 40);
    return bytes;
  };
  t.is(parseEnvelope(envelope(16_384)).block?.length, 16_384);
  t.throws(() => parseEnvelope(envelope(16_385)), {
    message: /dek-block of 16385 bytes, at most 16384 \(at byte 40\)/,
  });
  t.throws(() => parseEnvelope(envelope(0)), { message: /dek-block of length 0 \(at byte 40\)/ });
});

test('there is no prefix for a suite that is not served', (t) => {
  for (const suite of [0, 3, 4, 5])
    t.throws(() => envelopePrefix(suite, dekId(dek), undefined), { instanceOf: RangeError });
});
