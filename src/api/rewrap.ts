import { parseEnvelope } from '../crypto/envelope.ts';
import { DekdError, invalidField } from '../errors.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';
import { authorize } from './request.ts';

interface RewrapRequest {
  ciphertext: Buffer;
}

interface RewrapResponse {
  ciphertext: Uint8Array;
  changed: boolean;
}

/** 4 MiB, less tags and lengths. */
const MAX_CIPHERTEXT_BYTES = 4 * 1024 * 1024 - 16;

/** Wraps the envelope's DEK for today's recipients of its key; the payload is neither opened nor changed. */
export async function rewrap(request: RewrapRequest, call: Call, parts: Parts): Promise<RewrapResponse> {
  if (request.ciphertext.length === 0) throw invalidField('ciphertext', 'is empty');
  const { envelope, keyName } = parts.keyrings.locate(parseEnvelope(request.ciphertext));
  const keyring = authorize('Rewrap', keyName, call, parts);
  const rewrapped = await keyring.rewrapper.rewrap(envelope, call);
  if (rewrapped.ciphertext.length > MAX_CIPHERTEXT_BYTES) {
    throw new DekdError('MESSAGE_TOO_LARGE', 'the rewrapped ciphertext does not fit into an answer of 4 MiB', {
      metadata: { key: keyName },
    });
  }
  return rewrapped;
}
