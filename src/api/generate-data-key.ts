import { sealDataKey } from '../crypto/envelope.ts';
import { MAX_ASSOCIATED_DATA_BYTES } from '../crypto/payload-aad.ts';
import { invalidField } from '../errors.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';
import { authorize, checkKeyName, checkLength, contextOf } from './request.ts';

interface GenerateDataKeyRequest {
  key: string;
  number_of_bytes: number;
  encryption_context: Record<string, string>;
  associated_data: Buffer;
  dry_run: boolean;
}

interface GenerateDataKeyResponse {
  plaintext: Uint8Array;
  ciphertext: Uint8Array;
  key: string;
  generation: number;
  served_in_grace: boolean;
}

const DEFAULT_BYTES = 32;
const MAX_BYTES = 1024;
const NOTHING = new Uint8Array(0);

type GenerateRpc = 'GenerateDataKey' | 'GenerateDataKeyWithoutPlaintext';

/** With `rpc` GenerateDataKeyWithoutPlaintext the data key never leaves native memory and `plaintext` is empty. */
export function generateDataKey(
  rpc: GenerateRpc,
  request: GenerateDataKeyRequest,
  call: Call,
  parts: Parts,
): GenerateDataKeyResponse | Promise<GenerateDataKeyResponse> {
  checkKeyName('key', request.key);
  const numberOfBytes = request.number_of_bytes === 0 ? DEFAULT_BYTES : request.number_of_bytes;
  if (numberOfBytes > MAX_BYTES) {
    throw invalidField(
      'number_of_bytes',
      `is ${numberOfBytes}; 1 to ${MAX_BYTES} are allowed, 0 means ${DEFAULT_BYTES}`,
    );
  }
  checkLength('associated_data', request.associated_data, MAX_ASSOCIATED_DATA_BYTES);
  const context = contextOf(request.encryption_context);
  const keyring = authorize(rpc, request.key, call, parts);
  const { key, associated_data: associatedData } = request;
  if (request.dry_run) {
    return keyring
      .checkState(context, call)
      .then(() => ({ plaintext: NOTHING, ciphertext: NOTHING, key, generation: 0, served_in_grace: false }));
  }
  return keyring.encrypt(
    context,
    numberOfBytes,
    (dek, servedInGrace) => {
      const withPlaintext = rpc === 'GenerateDataKey';
      const made = sealDataKey(dek.handle, dek.prefix, context, associatedData, numberOfBytes, withPlaintext);
      if (made.plaintext !== undefined) call.wipeLater(made.plaintext);
      return {
        plaintext: made.plaintext ?? NOTHING,
        ciphertext: made.ciphertext,
        key,
        generation: dek.generation,
        served_in_grace: servedInGrace,
      };
    },
    call,
  );
}
