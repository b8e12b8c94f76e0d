import { DekdError } from '../errors.ts';
import { awsKms } from './aws-kms/options.ts';
import { aliasOf, howToMakeKey } from './aws-kms/uri.ts';
import { pkcs11 } from './pkcs11/options.ts';
import { howToMakePkcs11Kek } from './pkcs11/uri.ts';
import type { UpstreamOptions } from './registry.ts';
import { howToMakeLocalKek, parseLocalKek } from './uri.ts';
import { vaultTransit } from './vault-transit/options.ts';
import { howToMakeVaultKek } from './vault-transit/uri.ts';

// What can be said of a KEK by its reference alone, without its upstream: no service is asked, no child process started and no SDK loaded.

interface References<Options> {
  /** Throws DekdError for what is none. */
  resolve(reference: string, options: Options): unknown;
  /** What to do when the upstream has no such KEK; of one in normal form. */
  howToMake(kek: string): string;
}

/** By the upstream's type. Which store a local KEK is in only the store knows. */
const REFERENCES: {
  readonly [Type in UpstreamOptions['type']]: References<Extract<UpstreamOptions, { type: Type }>>;
} = {
  local: { resolve: parseLocalKek, howToMake: howToMakeLocalKek },
  'vault-transit': { resolve: vaultTransit.resolve, howToMake: howToMakeVaultKek },
  'aws-kms': { resolve: awsKms.resolve, howToMake: howToMakeKey },
  pkcs11: { resolve: pkcs11.resolve, howToMake: howToMakePkcs11Kek },
};

/** What is wrong with a reference, as the start would say; undefined for nothing. Whether there is such a KEK only its upstream can tell. */
export function kekProblem(reference: string, options: UpstreamOptions): string | undefined {
  // The type says which options these are.
  const { resolve } = REFERENCES[options.type] as References<UpstreamOptions>;
  try {
    resolve(reference, options);
    return undefined;
  } catch (thrown) {
    return DekdError.from(thrown).message.replace(/^kek: /, '');
  }
}

/** The same without aliases: at a start their upstream asks what each means, and then refuses it with the answer. */
export function kekProblemAtStart(reference: string, options: UpstreamOptions): string | undefined {
  return aliasOf(reference) === undefined ? kekProblem(reference, options) : undefined;
}

/** The way out when an upstream has no such KEK; of a KEK in normal form. */
export function howToMakeKek(kek: string): string {
  const type = kek.slice(0, kek.indexOf(':'));
  return isType(type) ? REFERENCES[type].howToMake(kek) : 'make it there';
}

function isType(type: string): type is UpstreamOptions['type'] {
  return Object.hasOwn(REFERENCES, type);
}
