import { actor, adminDenied } from './admin-request.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';

/** The answer must fit into the 4 MiB that stock clients take; the rest is for its other field and the framing. */
export const MAX_BACKUP_BYTES = 4 * 1024 * 1024 - 1024;

export async function backupKeystore(request: { upstream: string }, call: Call, parts: Parts): Promise<object> {
  if (!parts.policy.mayAdmin(call.principal, 'BackupKeystore')) throw adminDenied('BackupKeystore', call);
  return parts.administration.backup(request.upstream, MAX_BACKUP_BYTES, actor(call));
}
