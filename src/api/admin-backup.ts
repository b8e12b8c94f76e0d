import { invalidField } from '../errors.ts';
import { actor, adminDenied } from './admin-request.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';

/** With the answer's other field and its framing it fits into the 4 MiB that stock clients take. */
const DEFAULT_BYTES = 4 * 1024 * 1024 - 1024;
/** An answer is held in memory, twice while it is serialised. */
const MAX_BYTES = 64 * 1024 * 1024;

interface BackupKeystoreRequest {
  upstream: string;
  max_bytes: number;
}

export async function backupKeystore(request: BackupKeystoreRequest, call: Call, parts: Parts): Promise<object> {
  if (!parts.policy.mayAdmin(call.principal, 'BackupKeystore')) throw adminDenied('BackupKeystore', call);
  const { upstream, max_bytes: maxBytes } = request;
  if (maxBytes > MAX_BYTES) throw invalidField('max_bytes', `is ${maxBytes}; 1 to ${MAX_BYTES} are allowed`);
  return parts.administration.backup(upstream, maxBytes === 0 ? DEFAULT_BYTES : maxBytes, actor(call));
}
