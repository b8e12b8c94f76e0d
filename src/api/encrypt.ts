import { sealMessage } from '../crypto/envelope.ts';
import { MAX_ASSOCIATED_DATA_BYTES } from '../crypto/payload-aad.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';
import { authorize, checkKeyName, checkLength, contextOf, MAX_PLAINTEXT_BYTES } from './request.ts';

interface EncryptRequest {
  key: string;
  plaintext: Buffer;
  encryption_context: Record<string, string>;
  associated_data: Buffer;
  dry_run: boolean;
}

interface EncryptResponse {
  ciphertext: Uint8Array;
  key: string;
  generation: number;
  served_in_grace: boolean;
  outdated: boolean;
}

const NOTHING = new Uint8Array(0);

export function encrypt(request: EncryptRequest, call: Call, parts: Parts): EncryptResponse | Promise<EncryptResponse> {
  checkKeyName('key', request.key);
  checkLength('plaintext', request.plaintext, MAX_PLAINTEXT_BYTES);
  checkLength('associated_data', request.associated_data, MAX_ASSOCIATED_DATA_BYTES);
  const context = contextOf(request.encryption_context);
  const keyring = authorize('Encrypt', request.key, call, parts);
  if (request.dry_run) {
    return keyring.checkState(context, call.signal).then(() => response(request.key, NOTHING, 0, false));
  }
  const { plaintext, associated_data: associatedData } = request;
  return keyring.encrypt(
    context,
    plaintext.length,
    (dek, servedInGrace) =>
      response(
        request.key,
        sealMessage(dek.handle, dek.prefix, context, associatedData, plaintext),
        dek.generation,
        servedInGrace,
      ),
    call,
  );
}

/** A DEK that encrypts is of the newest generation and suite that this agent knows. */
function response(key: string, ciphertext: Uint8Array, generation: number, servedInGrace: boolean): EncryptResponse {
  return { ciphertext, key, generation, served_in_grace: servedInGrace, outdated: false };
}
