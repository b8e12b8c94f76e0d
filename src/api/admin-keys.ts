import { DekdError } from '../errors.ts';
import { actor, adminDenied, authorizeRotation } from './admin-request.ts';
import type { ChangedKek } from './administration.ts';
import type { Call } from './call.ts';
import { keySummary } from './describe-key.ts';
import type { Parts } from './parts.ts';
import { checkKeyName } from './request.ts';

interface CreateKeyRequest {
  key: string;
  upstream: string;
  labels: Record<string, string>;
}

export async function createKey(request: CreateKeyRequest, call: Call, parts: Parts): Promise<object> {
  if (!parts.policy.mayAdmin(call.principal, 'CreateKey')) throw adminDenied('CreateKey', call);
  checkKeyName('key', request.key);
  const labels = new Map(Object.entries(request.labels));
  const made = await parts.administration.createKek(request.key, request.upstream, labels, actor(call));
  return { key: request.key, kek: made.uri, kek_version: made.version, usable: made.usable };
}

export function listKeys(_request: object, call: Call, parts: Parts): object {
  if (!parts.policy.mayList(call.principal)) throw adminDenied('ListKeys', call);
  const keyrings = parts.policy.visibleKeys(call.principal).flatMap((name) => parts.keyrings.byName(name) ?? []);
  return { keys: keyrings.map(keySummary) };
}

export async function rotateKey(request: { key: string }, call: Call, parts: Parts): Promise<object> {
  const keyring = authorizeRotation(request.key, call, parts);
  const kek = await parts.administration.rotateKeks(keyring, actor(call));
  const retired = await keyring.rotate().catch((thrown: unknown) => {
    throw halfRotated(DekdError.from(thrown), kek);
  });
  return { key: request.key, kek: kek?.uri ?? '', kek_version: kek?.version ?? '', retired_deks: String(retired) };
}

/** The KEK's new version is on disk: who asks for the same again makes one more. */
function halfRotated(error: DekdError, kek: ChangedKek | undefined): DekdError {
  if (kek === undefined || error.reason === 'INTERNAL') return error;
  const text = `${error.message}; KEK ${kek.uri} is at version ${kek.version} now, the DEKs in memory go on until their time is over`;
  return new DekdError(error.reason, text, { cause: error, metadata: error.metadata });
}
