import { invalidField } from '../../errors.ts';
import { quoteReference } from '../uri.ts';
import type { VaultTransitOptions } from './options.ts';

const SCHEME = 'vault-transit:';
const MAX_REFERENCE_BYTES = 512;

/** A path of namespaces or of a mount: unreserved characters (RFC 3986), no `.` or `..` segments, no empty ones. */
export const VAULT_PATH = /^(?:(?!\.{1,2}(?:\/|$))[A-Za-z0-9._~-]+(?:\/(?!$)|$))+$/;

/** Names that the transit engine routes: GenericNameRegex of Vault's and OpenBao's sdk/framework. */
const KEY_NAME = /^\w(?:[\w.-]*\w)?$/;

export interface VaultKek {
  /** Namespaces and mount, e.g. `team-a/transit`. */
  readonly mount: string;
  readonly name: string;
}

/** `vault-transit:[namespace/]mount/keys/name`, which is the normal form too. Throws DekdError INVALID_REQUEST. */
export function parseVaultKek(reference: string): VaultKek {
  const path = reference.startsWith(SCHEME) ? reference.slice(SCHEME.length) : '';
  const [, mount = '', name = ''] = /^(.+)\/keys\/([^/]+)$/.exec(path) ?? [];
  if (reference.length > MAX_REFERENCE_BYTES || !VAULT_PATH.test(mount) || !KEY_NAME.test(name)) {
    throw invalidField(
      'kek',
      `${quoteReference(reference)} is not a KEK of a vault-transit upstream; write vault-transit:MOUNT/keys/NAME, with the namespaces before the mount ` +
        `where there are any, of A-Z a-z 0-9 . _ ~ - and slashes, at most ${MAX_REFERENCE_BYTES} characters`,
    );
  }
  return { mount, name };
}

/** Throws DekdError INVALID_REQUEST also for a KEK outside the namespace of the login: a token reaches its own namespace and those below. */
export function resolveVaultKek(reference: string, { namespace }: Pick<VaultTransitOptions, 'namespace'>): string {
  const { mount, name } = parseVaultKek(reference);
  if (namespace !== undefined && !mount.startsWith(`${namespace}/`)) {
    const inside = `${SCHEME}${namespace}/${mount}/keys/${name}`;
    throw invalidField(
      'kek',
      `${reference} lies outside namespace ${namespace} of its upstream; did you mean ${inside}?`,
    );
  }
  return reference;
}

/** For a KEK that the service does not have. */
export function howToMakeVaultKek(kek: string): string {
  const { mount, name } = parseVaultKek(kek);
  return `make it with \`bao write -f ${mount}/keys/${name} type=aes256-gcm96\``;
}
