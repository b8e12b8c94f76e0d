import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { ChildCall, ChildProvider } from '../../../src/upstream/child/child-provider.ts';
import type { VaultLogin, VaultTransitOptions } from '../../../src/upstream/vault-transit/options.ts';
import { open } from '../../../src/upstream/vault-transit/provider.ts';
import { wrapContext } from '../../contract/upstream-context.ts';
import { type OpenBao, startOpenBao } from '../../counterparts/openbao/start.ts';

export const CONTEXT = wrapContext({ 'dekd:key': 'orders', 'dekd:id': '00ff', tenant: 'acme' });
/** The bytes 0 to 31. */
export const DEK = Uint8Array.from({ length: 32 }, (_, index) => index);

/** One server for the tests of a file: the file stops it in `test.after.always`. */
export class Servers {
  #started: Promise<OpenBao> | undefined;

  get(options: { tls?: boolean } = {}): Promise<OpenBao> {
    this.#started ??= startOpenBao(options).then(async (bao) => {
      await succeeds(bao, 'POST', 'sys/mounts/transit', { type: 'transit' });
      await succeeds(bao, 'POST', 'sys/auth/approle', { type: 'approle' });
      return bao;
    });
    return this.#started;
  }

  async stop(): Promise<void> {
    await (await this.#started)?.stop();
  }
}

let made = 0;

/** A KEK of its own for a test. */
export async function makeKek(bao: OpenBao, settings: object = {}): Promise<{ name: string; kek: string }> {
  const name = `k${++made}`;
  await succeeds(bao, 'POST', `transit/keys/${name}`, settings);
  return { name, kek: `vault-transit:transit/keys/${name}` };
}

/** The policy of docs/upstreams/vault-transit.md for keys of the mount `transit`. */
export function policyOf(...names: readonly string[]): string {
  return names
    .map((name) =>
      [
        `path "transit/encrypt/${name}" { capabilities = ["update"] }`,
        `path "transit/decrypt/${name}" { capabilities = ["update"] }`,
        `path "transit/keys/${name}" { capabilities = ["read"] }`,
      ].join('\n'),
    )
    .join('\n');
}

export async function writePolicy(bao: OpenBao, policy: string, text: string): Promise<void> {
  await succeeds(bao, 'PUT', `sys/policies/acl/${policy}`, { policy: text });
}

/** A token under that policy, in a file. */
export async function issueToken(
  t: ExecutionContext,
  bao: OpenBao,
  policy: string,
  settings: object = {},
): Promise<{ token: string; file: string }> {
  const { json } = await succeeds(bao, 'POST', 'auth/token/create', { policies: [policy], ttl: '1h', ...settings });
  const token = json.auth.client_token as string;
  return { token, file: secretFile(t, token) };
}

export interface AppRole {
  readonly login: Extract<VaultLogin, { method: 'approle' }>;
  readonly secretIdAccessor: string;
}

export async function makeAppRole(
  t: ExecutionContext,
  bao: OpenBao,
  policy: string,
  settings: object = {},
): Promise<AppRole> {
  const role = `r${++made}`;
  await succeeds(bao, 'POST', `auth/approle/role/${role}`, { token_policies: [policy], token_ttl: '20m', ...settings });
  const roleId = await succeeds(bao, 'GET', `auth/approle/role/${role}/role-id`);
  const secretId = await succeeds(bao, 'POST', `auth/approle/role/${role}/secret-id`);
  return {
    login: {
      method: 'approle',
      roleIdFile: secretFile(t, roleId.json.data.role_id),
      secretIdFile: secretFile(t, secretId.json.data.secret_id),
    },
    secretIdAccessor: secretId.json.data.secret_id_accessor,
  };
}

export async function succeeds(bao: OpenBao, method: string, path: string, body?: object, token?: string) {
  const reply = await bao.call(method, path, body, token);
  if (reply.status >= 300) throw new Error(`${method} ${path}: ${reply.status} ${JSON.stringify(reply.json)}`);
  return reply;
}

export function secretFile(t: ExecutionContext, text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-vault-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, 'secret');
  writeFileSync(file, `${text}\n`, { mode: 0o600 });
  return file;
}

/** A provider in this process, closed with the test. */
export async function openProvider(
  t: ExecutionContext,
  options: Omit<VaultTransitOptions, 'type'>,
): Promise<ChildProvider> {
  const provider = await open({ type: 'vault-transit', ...options }, {});
  t.teardown(() => provider.close());
  return provider;
}

export function call(changes: Partial<ChildCall> = {}): ChildCall {
  return { signal: AbortSignal.timeout(5_000), fresh: false, ...changes };
}
