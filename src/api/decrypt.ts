import { andThen, openBySize } from '../crypto/by-size.ts';
import type { EncryptionContext } from '../crypto/context.ts';
import { parseDekBlock } from '../crypto/dek-block.ts';
import { parseEnvelope, payloadLength } from '../crypto/envelope.ts';
import { unauthentic } from '../crypto/invalid-ciphertext.ts';
import { MAX_ASSOCIATED_DATA_BYTES } from '../crypto/payload-aad.ts';
import { DekdError, invalidField } from '../errors.ts';
import { checkPartition } from '../keyring/admission.ts';
import { isArchived, knownRecipients } from '../keyring/dek.ts';
import type { Keyring } from '../keyring/keyring.ts';
import type { BatchItem } from './batch.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';
import { archived, authorize, checkArchived, checkKeyName, checkLength, contextOf } from './request.ts';

export interface DecryptRequest {
  ciphertext: Buffer;
  encryption_context: Record<string, string>;
  associated_data: Buffer;
  expected_key: string;
  dry_run: boolean;
}

export interface DecryptResponse {
  plaintext: Uint8Array;
  key: string;
  generation: number;
  served_in_grace: boolean;
  outdated: boolean;
}

const NOTHING = new Uint8Array(0);

/** With `item` it is one of a DecryptBatch. */
export function decrypt(
  request: DecryptRequest,
  call: Call,
  parts: Parts,
  item?: BatchItem,
): DecryptResponse | Promise<DecryptResponse> {
  const { ciphertext, associated_data: associatedData, expected_key: expectedKey } = request;
  if (ciphertext.length === 0) throw invalidField('ciphertext', 'is empty');
  if (expectedKey !== '') checkKeyName('expected_key', expectedKey);
  checkLength('associated_data', associatedData, MAX_ASSOCIATED_DATA_BYTES);
  const context = contextOf(request.encryption_context);
  const envelope = parseEnvelope(ciphertext);
  const located = parts.keyrings.locate(envelope);
  const { keyName: key } = located;
  const keyring = authorize(item === undefined ? 'Decrypt' : 'DecryptBatch', key, call, parts);
  if (expectedKey !== '' && expectedKey !== key) {
    throw new DekdError('KEY_MISMATCH', `the ciphertext is of key "${key}", not of "${expectedKey}"`, {
      metadata: { key },
    });
  }
  const outdated = envelope.suite !== keyring.options.suite;
  if (request.dry_run) {
    const { block } = located.envelope;
    return checkBlock(block, context, keyring, call, parts).then(() => ({
      plaintext: NOTHING,
      key,
      generation: 0,
      served_in_grace: false,
      outdated,
    }));
  }
  return keyring.decrypt(
    located,
    context,
    (dek, servedInGrace) => {
      checkArchived(dek, call, parts);
      item?.answers(key, payloadLength(envelope));
      return andThen(openBySize(dek.handle, envelope, context, associatedData), (plaintext) => {
        call.wipeLater(plaintext);
        return { plaintext, key, generation: dek.generation, served_in_grace: servedInGrace, outdated };
      });
    },
    call,
    item?.deks,
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
  call: Call,
  parts: Parts,
): Promise<void> {
  const parsed = parseDekBlock(block);
  const recipients = knownRecipients(parsed, keyring.options);
  if (recipients.length === 0) throw unauthentic(new Error('no recipient is a KEK of this key'));
  checkPartition(parsed.partition, context);
  const { name } = keyring.options;
  const mayUseArchived = parts.policy.mayUseArchived(call.principal, name);
  const state = await keyring.checkKeks(parsed.partition, call);
  if ((state === 'archived' || isArchived(recipients)) && !mayUseArchived) throw archived(name, call);
}
