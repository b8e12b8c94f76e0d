import { z } from 'zod';
import { childFields } from './child-schema.ts';
import { exactlyOne, leaf, list, map, text } from './leaves.ts';
import { path, upstreamType } from './names.ts';

/** Longest path that fits into the kernel's sun_path (unix(7): 108 bytes with the closing zero). */
const MAX_SOCKET_PATH_BYTES = 107;

const LOGIN =
  '{ token: { file: PATH } }, { approle: { role_id_file: PATH, secret_id_file: PATH } }, { kubernetes: { role: NAME } } or { proxy: true }';

const ADDRESSES = 'a list of 1 to 8 addresses';

const address = leaf('an address such as https://vault.example:8200 or unix:/run/vault/agent.sock', vaultAddress);

/** Namespaces and mounts: src/upstream/vault-transit/uri.ts takes no others. */
const VAULT_PATH = /^(?:(?!\.{1,2}(?:\/|$))[A-Za-z0-9._~-]+(?:\/(?!$)|$))+$/;

const mount = (method: string) =>
  text('the path of an auth method, without auth/', VAULT_PATH)
    .default(method)
    .describe('The path of the auth method, without `auth/`.');

const login = map(LOGIN, {
  token: map('{ file: PATH }', { file: path().describe('The file. It is read again when the token is dead.') })
    .optional()
    .meta({ without: 'another login' })
    .describe('A token that somebody else writes into a file.'),
  approle: map('{ role_id_file: PATH, secret_id_file: PATH }', {
    role_id_file: path().describe('A file with the role id.'),
    secret_id_file: path().describe('A file with a secret id that may be used any number of times.'),
    mount: mount('approle'),
  })
    .optional()
    .meta({ without: 'another login' })
    .describe('The AppRole method.'),
  kubernetes: map('{ role: NAME }', {
    role: text('the name of a role', /^[\x21-\x7e]{1,256}$/).describe('The role to log in for.'),
    mount: mount('kubernetes'),
    token_file: path()
      .default('/var/run/secrets/kubernetes.io/serviceaccount/token')
      .describe('The pod’s service account token.'),
  })
    .optional()
    .meta({ without: 'another login' })
    .describe('The Kubernetes method.'),
  proxy: z
    .literal(true, { error: 'true' })
    .meta({ form: '`true`' })
    .optional()
    .meta({ without: 'another login' })
    .describe('None: a local proxy puts its own token on each request.'),
});

export const vaultTransitUpstream = map('a map with type, addresses and login', {
  type: upstreamType('vault-transit'),
  addresses: list(ADDRESSES, address)
    .max(8, { error: ADDRESSES })
    .describe(
      'Nodes of one cluster, asked in turn when one cannot be reached; at most 8. `http:` in production only on loopback.',
    ),
  namespace: text('a namespace such as team-a or team-a/payments', VAULT_PATH)
    .optional()
    .meta({ without: 'the root namespace' })
    .describe('Where the login is; every KEK lies inside it, and is written with it.'),
  ca: path()
    .optional()
    .meta({ without: 'those of Node' })
    .describe('A file of certificate authorities (PEM) that are trusted in place of all others.'),
  server_name: text('a host name', /^(?!-)[A-Za-z0-9.-]{1,253}$/)
    .optional()
    .meta({ without: 'the host of the address' })
    .describe('The name that the servers’ certificates must have.'),
  login: exactlyOne(login, LOGIN).describe('How dekd comes to its token: exactly one.'),
  ...childFields,
}).describe(
  '`vault-transit`: the transit engine of HashiCorp Vault or OpenBao ([how to set it up](upstreams/vault-transit.md)).',
);

/** In the form that redirects are compared with. */
function vaultAddress(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined;
  if (/^unix:\/[^\0]+$/.test(value)) {
    return Buffer.byteLength(value.slice('unix:'.length)) <= MAX_SOCKET_PATH_BYTES ? value : undefined;
  }
  if (!/^https?:\/\/[A-Za-z0-9.:[\]-]+\/?$/.test(value) || !URL.canParse(value)) return undefined;
  return new URL(value).origin;
}
