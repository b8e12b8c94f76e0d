import type { EncryptionContext } from '../crypto/context.ts';
import { parseDekBlock } from '../crypto/dek-block.ts';
import { openEnvelope, parseEnvelope } from '../crypto/envelope.ts';
import { unauthentic } from '../crypto/invalid-ciphertext.ts';
import { MAX_ASSOCIATED_DATA_BYTES } from '../crypto/payload-aad.ts';
import { DekdError, invalidField } from '../errors.ts';
import { checkPartition } from '../keyring/admission.ts';
import { knownRecipients } from '../keyring/dek.ts';
import type { Keyring } from '../keyring/keyring.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';
import { authorize, checkKeyName, checkLength, contextOf } from './request.ts';

interface DecryptRequest {
  ciphertext: Buffer;
  encryption_context: Record<string, string>;
  associated_data: Buffer;
  expected_key: string;
  dry_run: boolean;
}

interface DecryptResponse {
  plaintext: Uint8Array;
  key: string;
  generation: number;
  served_in_grace: boolean;
  outdated: boolean;
}

const NOTHING = new Uint8Array(0);

export function decrypt(request: DecryptRequest, call: Call, parts: Parts): DecryptResponse | Promise<DecryptResponse> {
  if (request.ciphertext.length === 0) throw invalidField('ciphertext', 'is empty');
  if (request.expected_key !== '') checkKeyName('expected_key', request.expected_key);
  checkLength('associated_data', request.associated_data, MAX_ASSOCIATED_DATA_BYTES);
  const context = contextOf(request.encryption_context);
  const envelope = parseEnvelope(request.ciphertext);
  const located = parts.keyrings.locate(envelope);
  const { keyName } = located;
  const keyring = authorize('Decrypt', keyName, call, parts);
  if (request.expected_key !== '' && request.expected_key !== keyName) {
    throw new DekdError('KEY_MISMATCH', `the ciphertext is of key "${keyName}", not of "${request.expected_key}"`, {
      metadata: { key: keyName },
    });
  }
  const outdated = envelope.suite !== keyring.options.suite;
  if (request.dry_run) {
    return checkBlock(located.envelope.block, context, keyring, call.signal).then(() => ({
      plaintext: NOTHING,
      key: keyName,
      generation: 0,
      served_in_grace: false,
      outdated,
    }));
  }
  const { associated_data: associatedData } = request;
  return keyring.decrypt(
    located,
    context,
    (dek, servedInGrace) => {
      const plaintext = openEnvelope(dek.handle, envelope, context, associatedData);
      call.wipeLater(plaintext);
      return { plaintext, key: keyName, generation: dek.generation, served_in_grace: servedInGrace, outdated };
    },
    call,
  );
}

/**
 * What a miss finds out before it asks an upstream, and whether the key may be used. A block has the partition that it was made with;
 * what today's configuration partitions by says nothing about it.
 */
async function checkBlock(
  block: Buffer,
  context: EncryptionContext,
  keyring: Keyring,
  signal: AbortSignal,
): Promise<void> {
  const parsed = parseDekBlock(block);
  if (knownRecipients(parsed, keyring.options).length === 0) {
    throw unauthentic(new Error('no recipient is a KEK of this key'));
  }
  checkPartition(parsed.partition, context);
  await keyring.checkKeks(signal);
}
