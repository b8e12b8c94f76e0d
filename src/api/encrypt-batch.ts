import { type BatchResponse, runBatch } from './batch.ts';
import type { Call } from './call.ts';
import { type EncryptRequest, type EncryptResponse, encrypt } from './encrypt.ts';
import type { Parts } from './parts.ts';

/** Each item as Encrypt would, and one DEK for a key and partition in cache mode `request`. */
export function encryptBatch(
  request: { items: EncryptRequest[] },
  call: Call,
  parts: Parts,
): BatchResponse<EncryptResponse> | Promise<BatchResponse<EncryptResponse>> {
  return runBatch(request.items, call, parts.itemStatus, (item, batch) => encrypt(item, call, parts, batch));
}
