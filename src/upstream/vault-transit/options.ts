import type { ChildUpstreamOptions, ProviderFacts } from '../child/child-provider.ts';
import { resolveVaultKek } from './uri.ts';

/** Settings of a `vault-transit` upstream: the transit engine of HashiCorp Vault or OpenBao. */
export interface VaultTransitOptions extends ChildUpstreamOptions {
  readonly type: 'vault-transit';
  /** Nodes of one cluster, 1–8, asked in turn: `https://HOST[:PORT]`, `http://HOST[:PORT]` or `unix:/PATH` of a proxy beside the agent. */
  readonly addresses: readonly string[];
  /** Namespace that the login belongs to, without slashes at its ends; every KEK lies inside it. Default the root namespace. */
  readonly namespace?: string;
  /** A file of certificate authorities (PEM) that replace the system's for `https:` addresses. Default Node's own list. */
  readonly ca?: string;
  /** Name that the servers' certificates must have, for addresses that are IPs. Default the host of each address. */
  readonly serverName?: string;
  readonly login: VaultLogin;
}

export type VaultLogin =
  | { readonly method: 'token'; readonly file: string }
  | {
      readonly method: 'approle';
      readonly roleIdFile: string;
      readonly secretIdFile: string;
      /** Path of the auth method, without `auth/`. Default `approle`. */
      readonly mount?: string;
    }
  | {
      readonly method: 'kubernetes';
      readonly role: string;
      /** Default `kubernetes`. */
      readonly mount?: string;
      /** The pod's service account token. Default SERVICE_ACCOUNT_TOKEN. */
      readonly tokenFile?: string;
    }
  /** A local proxy (Vault Agent, OpenBao Agent) that puts its own token on every request. */
  | { readonly method: 'proxy' };

/** Where Kubernetes mounts a pod's token. */
export const SERVICE_ACCOUNT_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

export const vaultTransit: ProviderFacts<VaultTransitOptions> = {
  type: 'vault-transit',
  beside: import.meta.url,
  resolve: resolveVaultKek,
  environment: [],
  readPaths: ({ ca, login }) => [...(ca === undefined ? [] : [ca]), ...loginFiles(login)],
};

/** The files that a login reads. */
export function loginFiles(login: VaultLogin): readonly string[] {
  switch (login.method) {
    case 'token':
      return [login.file];
    case 'approle':
      return [login.roleIdFile, login.secretIdFile];
    case 'kubernetes':
      return [login.tokenFile ?? SERVICE_ACCOUNT_TOKEN];
    case 'proxy':
      return [];
  }
}
