import type { ChildUpstreamOptions, ProviderFacts } from '../child/child-provider.ts';
import { resolve } from './uri.ts';

/** Settings of an upstream whose KEKs lie in a hardware security module, behind the vendor's PKCS#11 library. */
export interface Pkcs11Options extends ChildUpstreamOptions {
  readonly type: 'pkcs11';
  /** The vendor's library (.so), absolute: loaded in the child, never in the agent. */
  readonly modulePath: string;
  /** The token user's PIN: 1–255 bytes, one line feed at the end is not part of it. Read at each login. */
  readonly pin: { readonly file: string } | { readonly credential: string };
  /**
   * Labels of tokens that hold the same KEKs, an HSM cluster: any of them serves a KEK whose URI names no token. Default: every present token
   * with the label that the KEK's URI names.
   */
  readonly tokens?: readonly string[];
  /** Passed to the library as it is (`pReserved` of C_Initialize): what it must say, the vendor knows. Default none. */
  readonly libraryParameters?: string;
  /** Sessions at one token on which calls work at the same time, beside the one that holds the login: 1–64, default DEFAULT_MAX_SESSIONS. */
  readonly maxSessions?: number;
  /**
   * Allows KEKs that are RSA keys. Whoever has the public key can then make ciphertexts that open: they prove no origin. Default: an RSA key is
   * not used.
   */
  readonly origin?: 'unproven';
}

/**
 * What small tokens have in all (Yubico's ykcs11: 16) and enough for the large ones: at 20 ms a call, all 64 misses that an agent makes at once
 * are answered in 80 ms.
 */
export const DEFAULT_MAX_SESSIONS = 16;

export const pkcs11: ProviderFacts<Pkcs11Options> = {
  type: 'pkcs11',
  beside: import.meta.url,
  network: false,
  resolve,
  packages: ['pkcs11js'],
  environment: ['CREDENTIALS_DIRECTORY'],
  // Twice, so that calls that hang at one token leave threads for the next.
  threads: ({ maxSessions = DEFAULT_MAX_SESSIONS }) => 2 * maxSessions,
  readPaths: ({ pin }) => ('file' in pin ? [pin.file] : credentialPaths()),
};

function credentialPaths(): readonly string[] {
  const directory = process.env['CREDENTIALS_DIRECTORY'];
  return directory === undefined || directory === '' ? [] : [directory];
}
