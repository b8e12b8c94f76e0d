import test from 'ava';
import { andThen, MAX_SYNCHRONOUS_BYTES, openBySize, sealBySize } from '../../src/crypto/by-size.ts';
import { type EnvelopePrefix, envelopePrefix, parseEnvelope } from '../../src/crypto/envelope.ts';
import { createKey, dekId, freeKey, openArena, type SlotHandle } from '../../src/crypto/native.ts';
import { CONTENT, HEADER_BYTES } from '../../src/crypto/suites.ts';
import { DekdError } from '../../src/errors.ts';

const context = new Map([['tenant', 'acme']]);
const associated = Buffer.from('row-1');

/** The arena ends with the process. */
function dek(suite: number): { handle: SlotHandle; prefix: EnvelopePrefix } {
  openArena({ size: 1 << 20, lock: 'best-effort' });
  const handle = createKey('dek');
  // Its block is of no matter here; openEnvelope reads only where it ends.
  return { handle, prefix: envelopePrefix(suite, dekId(handle), Buffer.alloc(40, 1)) };
}

for (const suite of [1, 2]) {
  for (const content of Object.values(CONTENT)) {
    test(`suite ${suite}, content ${content}: short ones at once, long ones later, both open to the same`, async (t) => {
      const { handle, prefix } = dek(suite);
      for (const length of [0, MAX_SYNCHRONOUS_BYTES, MAX_SYNCHRONOUS_BYTES + 1, 1_000_000]) {
        const plaintext = Buffer.alloc(length, 7);
        const sealed = sealBySize(handle, prefix, context, associated, plaintext, content);
        t.is(sealed instanceof Promise, length > MAX_SYNCHRONOUS_BYTES);
        const envelope = parseEnvelope(await sealed);
        t.is(envelope.content, content);
        const opened = openBySize(handle, envelope, context, associated);
        t.true((await opened).equals(plaintext));
      }
      t.is(prefix.bytes[6], CONTENT.message);
    });
  }
}

test('a long payload needs neither its buffers nor its DEK once the call returned', async (t) => {
  const { handle, prefix } = dek(1);
  const plaintext = Buffer.alloc(300_000, 7);
  const data = Buffer.from(associated);
  const sealing = sealBySize(handle, prefix, context, data, plaintext);
  plaintext.fill(0);
  data.fill(0);
  const sealed = await sealing;
  const bytes = Buffer.from(sealed);
  const opening = openBySize(handle, parseEnvelope(bytes), context, associated);
  bytes.fill(0);
  freeKey(handle);
  t.true((await opening).equals(Buffer.alloc(300_000, 7)));
  await t.throwsAsync(async () => openBySize(handle, parseEnvelope(sealed), context, associated), {
    instanceOf: DekdError,
  });
});

test('what does not authenticate has the one wording, at once or later', async (t) => {
  const { handle, prefix } = dek(1);
  const messages = new Set<string>();
  for (const length of [5, 300_000]) {
    const envelope = await sealBySize(handle, prefix, context, associated, Buffer.alloc(length));
    for (const at of [HEADER_BYTES + 60, envelope.length - 1]) {
      const altered = Buffer.from(envelope);
      altered[at]! ^= 1;
      const failure = await t.throwsAsync(async () => openBySize(handle, parseEnvelope(altered), context, associated), {
        instanceOf: DekdError,
      });
      t.is(failure.reason, 'INVALID_CIPHERTEXT');
      messages.add(failure.message);
    }
  }
  t.is(messages.size, 1);
});

test('a limit is told at once, also of a long payload', (t) => {
  const { handle, prefix } = dek(1);
  const tooLong = Buffer.alloc(65_537);
  const failure = t.throws(() => sealBySize(handle, prefix, context, tooLong, Buffer.alloc(300_000)), {
    instanceOf: DekdError,
  });
  t.like(failure, { reason: 'INVALID_REQUEST', metadata: { field: 'associated_data' } });
});

test('andThen goes on at once with a value', async (t) => {
  t.is(
    andThen(1, (one) => one + 1),
    2,
  );
  const later = andThen(Promise.resolve(1), (one) => one + 1);
  t.true(later instanceof Promise);
  t.is(await later, 2);
});
