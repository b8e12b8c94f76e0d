import { type BatchResponse, runBatch } from './batch.ts';
import type { Call } from './call.ts';
import { type DecryptRequest, type DecryptResponse, decrypt } from './decrypt.ts';
import type { Parts } from './parts.ts';

/** Each item as Decrypt would, and one unwrap for a dek-block in cache mode `request`. */
export function decryptBatch(
  request: { items: DecryptRequest[] },
  call: Call,
  parts: Parts,
): BatchResponse<DecryptResponse> | Promise<BatchResponse<DecryptResponse>> {
  return runBatch(request.items, call, parts.itemStatus, (item, batch) => decrypt(item, call, parts, batch));
}
