import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { parseDekBlock, sealDekBlock, wrapContext } from '../../src/crypto/dek-block.ts';
import { envelopePrefix, parseEnvelope } from '../../src/crypto/envelope.ts';
import { dekId, freeKey, unwrapKey } from '../../src/crypto/native.ts';
import { DekdError } from '../../src/errors.ts';
import { loadKey, openTestArena } from '../native/load-key.ts';
import { hex, openVector, vectors, withDek } from './vectors.ts';

const UNAUTHENTIC =
  'the ciphertext cannot be opened: wrong encryption context, associated data or key, or it was altered';

const pathOf = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

openTestArena();

test('the generator makes exactly this file', (t) => {
  const made = execFileSync(process.execPath, [pathOf('../../tools/make-envelope-vectors.mjs')], {
    maxBuffer: 1 << 22,
  });
  t.true(made.equals(readFileSync(pathOf('../vectors/envelope.json'))));
});

test('the file holds every vector', (t) => {
  t.is(vectors.open.length, 35);
  t.is(vectors.refuse.length, 138);
  t.is(new Set([...vectors.open, ...vectors.refuse].map(({ name }) => name)).size, 35 + 138);
});

for (const vector of vectors.open) {
  test(`opens: ${vector.name}`, (t) => {
    const { plaintext, block } = openVector(vector);
    if (vector.plaintext === undefined) {
      t.is(createHash('sha256').update(plaintext).digest('hex'), vector.plaintext_sha256!);
    } else {
      t.is(plaintext.toString('hex'), vector.plaintext);
    }
    t.is(block === undefined, vector.block === undefined);
    const { suite, content, dekId: id } = parseEnvelope(hex(vector.envelope));
    t.deepEqual(
      { suite, content, id: id.toString('hex') },
      { suite: vector.suite, content: vector.content, id: vector.dek_id },
    );
  });

  test(`everything before the nonce is what a writer makes: ${vector.name}`, (t) => {
    const envelope = parseEnvelope(hex(vector.envelope));
    const { bytes } = envelopePrefix(vector.suite, envelope.dekId, envelope.block);
    bytes[6] = vector.content;
    t.deepEqual(bytes, envelope.bytes.subarray(0, envelope.sealedOffset));
  });

  const facts = vector.block;
  if (facts === undefined) continue;

  test(`its dek-block is read and made again: ${vector.name}`, (t) => {
    const bytes = parseEnvelope(hex(vector.envelope)).block ?? hex(vector.detached_block!);
    const block = parseDekBlock(bytes);
    t.deepEqual(
      { ...block, partition: [...block.partition].sort() },
      {
        createdMs: facts.created,
        generation: facts.generation,
        keyName: facts.key,
        partition: facts.partition.toSorted(),
        recipients: facts.recipients.map(({ type, algorithm, uri, version, wrapped }) => ({
          type,
          wrapAlgorithm: algorithm,
          kekUri: uri,
          kekVersion: version,
          wrapped: hex(wrapped),
        })),
      },
    );
    // The order of a Map's entries must not matter.
    block.partition = new Map([...block.partition].reverse());
    t.deepEqual(
      withDek(vector.dek, (dek) => sealDekBlock(block, dek)),
      bytes,
    );
  });

  for (const { algorithm, kek, wrapped } of facts.recipients) {
    if (kek === undefined || algorithm < 5) continue;
    test(`wrap algorithm ${algorithm} unwraps under the wrap context: ${vector.name}`, (t) => {
      const context = wrapContext(facts.key, hex(vector.dek_id), new Map(facts.partition));
      const kekHandle = loadKey(hex(kek), 'raw');
      const dek = unwrapKey(kekHandle, algorithm === 5 ? 2 : 1, hex(wrapped), context.encoded, 'dek');
      t.is(dekId(dek).toString('hex'), vector.dek_id);
      freeKey(dek);
      freeKey(kekHandle);
    });
  }
}

for (const vector of vectors.refuse) {
  test(`refuses, ${vector.class}: ${vector.name}`, (t) => {
    const error = t.throws(() => openVector(vector), { instanceOf: DekdError });
    t.is(error.reason, 'INVALID_CIPHERTEXT');
    if (vector.class === 'unauthentic') {
      t.is(error.message, UNAUTHENTIC);
      return;
    }
    t.regex(error.message, /\(at byte \d+\)$/);
    for (const mention of vector.mentions ?? []) t.true(error.message.includes(mention), error.message);
  });
}
