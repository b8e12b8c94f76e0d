import { andThen, sealBySize } from '../crypto/by-size.ts';
import { envelopeLength } from '../crypto/envelope.ts';
import { MAX_ASSOCIATED_DATA_BYTES } from '../crypto/payload-aad.ts';
import type { BatchItem } from './batch.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';
import { authorize, checkKeyName, checkLength, contextOf, MAX_PLAINTEXT_BYTES } from './request.ts';

export interface EncryptRequest {
  key: string;
  plaintext: Buffer;
  encryption_context: Record<string, string>;
  associated_data: Buffer;
  dry_run: boolean;
}

export interface EncryptResponse {
  ciphertext: Uint8Array;
  key: string;
  generation: number;
  served_in_grace: boolean;
  outdated: boolean;
}

const NOTHING = new Uint8Array(0);

/** With `item` it is one of an EncryptBatch. */
export function encrypt(
  request: EncryptRequest,
  call: Call,
  parts: Parts,
  item?: BatchItem,
): EncryptResponse | Promise<EncryptResponse> {
  const { key, plaintext, associated_data: associatedData } = request;
  checkKeyName('key', key);
  checkLength('plaintext', plaintext, MAX_PLAINTEXT_BYTES);
  checkLength('associated_data', associatedData, MAX_ASSOCIATED_DATA_BYTES);
  const context = contextOf(request.encryption_context);
  const keyring = authorize(item === undefined ? 'Encrypt' : 'EncryptBatch', key, call, parts);
  if (request.dry_run) {
    return keyring.checkState(context, call).then(() => response(key, NOTHING, 0, false));
  }
  return keyring.encrypt(
    context,
    plaintext.length,
    (dek, servedInGrace) => {
      item?.answers(key, envelopeLength(dek.prefix, plaintext.length));
      return andThen(sealBySize(dek.handle, dek.prefix, context, associatedData, plaintext), (ciphertext) =>
        response(key, ciphertext, dek.generation, servedInGrace),
      );
    },
    call,
    item?.deks,
  );
}

/** A DEK that encrypts is of the newest generation and suite that this agent knows. */
function response(key: string, ciphertext: Uint8Array, generation: number, servedInGrace: boolean): EncryptResponse {
  return { ciphertext, key, generation, served_in_grace: servedInGrace, outdated: false };
}
