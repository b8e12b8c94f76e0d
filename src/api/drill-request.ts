import { isKeyName } from '../crypto/dek-block.ts';
import { DekdError, invalidField } from '../errors.ts';
import type { KeyOptions } from '../keyring/options.ts';
import { adminDenied } from './admin-request.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';

type DrillRpc = 'StartDrill' | 'StopDrill';

/**
 * For a caller who may call `rpc` on every key that names the upstream: a drill reaches them all. Whether there is an upstream of that name is told
 * only to who sees all of them; others hear of those of the keys that they see.
 */
export function authorizeDrill(rpc: DrillRpc, upstream: string, call: Call, parts: Parts): void {
  const { policy, keyrings } = parts;
  const { principal } = call;
  if (!keyrings.names().some((key) => policy.may(principal, rpc, key))) throw adminDenied(rpc, call);
  // Upstreams are named as keys are.
  if (!isKeyName(upstream)) {
    const problem = upstream === '' ? 'is empty; name an upstream' : 'is not the name of an upstream';
    throw invalidField('upstream', `${problem} of your keys: ${visibleUpstreams(call, parts)}`);
  }
  const served = keyrings.names().filter((key) => upstreamsOf(keyrings.byName(key)?.options).has(upstream));
  const isVisible = (key: string): boolean => policy.may(principal, 'ListKeys', key);
  if (!served.some(isVisible)) throw unknownUpstream(rpc, upstream, call, parts);
  const missing = served.filter((key) => !policy.may(principal, rpc, key));
  if (missing.length === 0) return;
  const shown = missing.find(isVisible);
  const keys = shown === undefined ? 'every key' : `key "${shown}"`;
  const { uid, gid } = principal;
  const text = `uid ${uid} (gid ${gid}) may not call ${rpc} on ${keys} that upstream ${upstream} serves; a drill takes a custodian of all of them`;
  throw new DekdError('POLICY_DENIED', text, {
    metadata: { upstream, ...(shown === undefined ? {} : { key: shown }) },
  });
}

function unknownUpstream(rpc: DrillRpc, upstream: string, call: Call, parts: Parts): DekdError {
  const { policy } = parts;
  const known = visibleUpstreams(call, parts);
  if (policy.seesEveryKey(call.principal)) {
    return invalidField('upstream', `no key has a KEK in an upstream "${upstream}"; keys have some in: ${known}`);
  }
  const { uid, gid } = call.principal;
  const text = `uid ${uid} (gid ${gid}) may not call ${rpc} on upstream "${upstream}"; your keys have KEKs in: ${known}`;
  return new DekdError('POLICY_DENIED', text, { metadata: { upstream } });
}

function visibleUpstreams({ principal }: Call, { keyrings, policy }: Parts): string {
  const names = new Set(
    policy.visibleKeys(principal).flatMap((key) => [...upstreamsOf(keyrings.byName(key)?.options)]),
  );
  return [...names].sort().join(', ');
}

function upstreamsOf(options: KeyOptions | undefined): Set<string> {
  const { recipients = [], decryptWith = [] } = options ?? {};
  return new Set([...recipients.map(({ kek }) => kek), ...decryptWith].map(({ upstreamName }) => upstreamName));
}
