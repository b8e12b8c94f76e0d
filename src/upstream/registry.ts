import { DekdError } from '../errors.ts';
import { type AwsKmsOptions, awsKms } from './aws-kms/options.ts';
import { openInChild } from './child/open-in-child.ts';
import { openLocal } from './local/open.ts';
import type { LocalOptions } from './local/options.ts';
import { type Pkcs11Options, pkcs11 } from './pkcs11/options.ts';
import type { Upstream } from './provider.ts';
import { type VaultTransitOptions, vaultTransit } from './vault-transit/options.ts';

/** The settings of one upstream; `type` says whose they are. A new provider adds its own to this union, to OPENERS and to kek-references.ts. */
export type UpstreamOptions = LocalOptions | ((VaultTransitOptions | AwsKmsOptions | Pkcs11Options) & OnWarning);

interface OnWarning {
  readonly onWarning?: (warning: string) => void;
}

type Open<Options> = (name: string, options: Options) => Promise<Upstream>;

const OPENERS: { readonly [Type in UpstreamOptions['type']]: Open<Extract<UpstreamOptions, { type: Type }>> } = {
  local: openLocal,
  'vault-transit': openInChild(vaultTransit),
  'aws-kms': openInChild(awsKms),
  pkcs11: openInChild(pkcs11),
};

/** Opens the upstream that the configuration calls `name`. Throws DekdError: what is wrong, where, and the way out. */
export async function openUpstream(name: string, options: UpstreamOptions): Promise<Upstream> {
  if (!Object.hasOwn(OPENERS, options.type)) {
    const known = Object.keys(OPENERS).join(', ');
    throw new DekdError(
      'INVALID_REQUEST',
      `upstream ${name}: type "${options.type}" is not supported; known: ${known}`,
    );
  }
  // The type says which options these are.
  return (OPENERS[options.type] as Open<UpstreamOptions>)(name, options);
}
