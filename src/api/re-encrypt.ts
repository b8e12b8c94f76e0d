import { andThen, openBySize, sealBySize } from '../crypto/by-size.ts';
import { parseEnvelope, payloadLength } from '../crypto/envelope.ts';
import { MAX_ASSOCIATED_DATA_BYTES } from '../crypto/payload-aad.ts';
import { DekdError, invalidField } from '../errors.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';
import { authorize, checkArchived, checkKeyName, checkLength, contextOf, MAX_PLAINTEXT_BYTES } from './request.ts';

interface ReEncryptRequest {
  ciphertext: Buffer;
  source_encryption_context: Record<string, string>;
  source_associated_data: Buffer;
  destination_key: string;
  destination_encryption_context: Record<string, string>;
  destination_associated_data: Buffer;
}

interface ReEncryptResponse {
  ciphertext: Uint8Array;
  key: string;
  source_key: string;
}

/** Opens under one key and seals under another. The payload stays here and is zeroed as soon as it is sealed; a data key stays a data key. */
export function reEncrypt(
  request: ReEncryptRequest,
  call: Call,
  parts: Parts,
): ReEncryptResponse | Promise<ReEncryptResponse> {
  const { ciphertext, destination_key: key } = request;
  const { source_associated_data: sourceData, destination_associated_data: destinationData } = request;
  if (ciphertext.length === 0) throw invalidField('ciphertext', 'is empty');
  checkKeyName('destination_key', key);
  checkLength('source_associated_data', sourceData, MAX_ASSOCIATED_DATA_BYTES);
  checkLength('destination_associated_data', destinationData, MAX_ASSOCIATED_DATA_BYTES);
  const sourceContext = contextOf(request.source_encryption_context, 'source_encryption_context');
  const destinationContext = contextOf(request.destination_encryption_context, 'destination_encryption_context');
  const envelope = parseEnvelope(ciphertext);
  const located = parts.keyrings.locate(envelope);
  const { keyName: sourceKey } = located;
  const source = authorize('ReEncrypt', sourceKey, call, parts);
  const destination = authorize('ReEncrypt', key, call, parts);
  if (payloadLength(envelope) > MAX_PLAINTEXT_BYTES) {
    throw invalidField('ciphertext', `seals more than ${MAX_PLAINTEXT_BYTES} bytes`);
  }
  const open = (): Buffer | Promise<Buffer> =>
    source.decrypt(
      located,
      sourceContext,
      (dek) => {
        checkArchived(dek, call, parts);
        return openBySize(dek.handle, envelope, sourceContext, sourceData);
      },
      call,
    );
  const seal = (payload: Buffer): Buffer | Promise<Buffer> =>
    destination.encrypt(
      destinationContext,
      payload.length,
      (dek) => sealBySize(dek.handle, dek.prefix, destinationContext, destinationData, payload, envelope.content),
      call,
    );
  const sealed = andThen(naming('source', open), (payload) =>
    zeroing(payload, () => naming('destination', () => seal(payload))),
  );
  return andThen(sealed, (made) => ({ ciphertext: made, key, source_key: sourceKey }));
}

/** The parts below know one context and one associated data; the caller hears which of its two it was. */
function naming<T>(side: 'source' | 'destination', work: () => T | Promise<T>): T | Promise<T> {
  const rename = (thrown: unknown): never => {
    const { field } = thrown instanceof DekdError && thrown.reason === 'INVALID_REQUEST' ? thrown.metadata : {};
    if (field !== 'encryption_context' && field !== 'associated_data') throw thrown;
    throw invalidField(`${side}_${field}`, (thrown as DekdError).message.slice(`${field}: `.length));
  };
  try {
    const result = work();
    return result instanceof Promise ? result.catch(rename) : result;
  } catch (thrown) {
    return rename(thrown);
  }
}

/** Runs `work` and zeroes the payload when it is over, however it ends. */
function zeroing<T>(payload: Buffer, work: () => T | Promise<T>): T | Promise<T> {
  let result: T | Promise<T>;
  try {
    result = work();
  } catch (thrown) {
    payload.fill(0);
    throw thrown;
  }
  if (result instanceof Promise) return result.finally(() => payload.fill(0));
  payload.fill(0);
  return result;
}
