/**
 * What a Vault is asked beside the calls of the keyring: an OpenBao behind a proxy that counts every request, an AppRole login, and a new child process
 * for each refresh, as it is at the default `idle` (1 min) and `ttl` (5 min).
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodePairs } from '../../src/crypto/context.ts';
import { createKey, freeKey, openArena } from '../../src/crypto/native.ts';
import { ChildUpstream } from '../../src/upstream/child/child-upstream.ts';
import { type VaultTransitOptions, vaultTransit } from '../../src/upstream/vault-transit/options.ts';
import { type OpenBao, startOpenBao } from '../../test/counterparts/openbao/start.ts';
import { type BenchmarkResult, row } from '../result.ts';

const REFRESHES = 20;
const IDLE_MS = 1_000;
const KEK = 'vault-transit:transit/keys/orders';
const PAIRS = new Map([['dekd:key', 'orders']]);
const CONTEXT = { pairs: PAIRS, encoded: encodePairs(PAIRS) };
const POLICY = ['encrypt', 'decrypt'].map((call) => `path "transit/${call}/orders" { capabilities = ["update"] }`);

export async function run(): Promise<BenchmarkResult> {
  const bao = await startOpenBao();
  const directory = mkdtempSync(join(tmpdir(), 'dekd-bench-'));
  const seen: string[] = [];
  const proxy = await startProxy(bao.address, seen);
  try {
    const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const children = await refresh({ type: 'vault-transit', addresses: [address], login: await login(bao, directory) });
    const counts = Object.entries(Object.groupBy(seen, (path) => path)).map(([path, all]) => `${all!.length} ${path}`);
    process.stderr.write(`${REFRESHES} refreshes and 1 wrap, ${children} children: ${counts.join(', ')}\n`);
    return {
      name: 'a Vault',
      rows: [row('requests : calls of the keyring', seen.length, REFRESHES + 1, 'in all', '≤ 1.1')],
    };
  } finally {
    proxy.close();
    proxy.closeAllConnections();
    await bao.stop();
    rmSync(directory, { recursive: true });
  }
}

/** Returns how many processes served. The last one's revocation of the token counts too. */
async function refresh(options: VaultTransitOptions): Promise<number> {
  openArena({ size: 1 << 20, lock: 'best-effort' });
  const upstream = await ChildUpstream.open({
    facts: vaultTransit,
    options: { ...options, idleMs: IDLE_MS },
    onWarning: (warning) => process.stderr.write(`${warning}\n`),
  });
  const children = new Set<number>();
  const dek = createKey('dek');
  const signal = new AbortController().signal;
  const wrapped = await upstream.wrap(KEK, dek, CONTEXT, { signal });
  freeKey(dek);
  for (let count = 0; count < REFRESHES; count++) {
    children.add(upstream.pids[0]!);
    await sleep(IDLE_MS * 2);
    freeKey(await upstream.unwrap(KEK, wrapped, CONTEXT, { signal }));
  }
  children.add(upstream.pids[0]!);
  await upstream.close();
  return children.size;
}

async function login(bao: OpenBao, directory: string): Promise<VaultTransitOptions['login']> {
  await bao.call('POST', 'sys/mounts/transit', { type: 'transit' });
  await bao.call('POST', 'transit/keys/orders', {});
  await bao.call('PUT', 'sys/policies/acl/orders', { policy: POLICY.join('\n') });
  await bao.call('POST', 'sys/auth/approle', { type: 'approle' });
  await bao.call('POST', 'auth/approle/role/agent', { token_policies: ['orders'], token_ttl: '12h' });
  const write = (name: string, text: string): string => {
    const file = join(directory, name);
    writeFileSync(file, text, { mode: 0o600 });
    return file;
  };
  const role = await bao.call('GET', 'auth/approle/role/agent/role-id');
  const secret = await bao.call('POST', 'auth/approle/role/agent/secret-id');
  return {
    method: 'approle',
    roleIdFile: write('role-id', role.json.data.role_id),
    secretIdFile: write('secret-id', secret.json.data.secret_id),
  };
}

async function startProxy(target: string, seen: string[]): Promise<Server> {
  const server = createServer((incoming, outgoing) => {
    seen.push(`${incoming.url}`.replace('/v1/', ''));
    const { method = 'GET', headers } = incoming;
    const sent = request(`${target}${incoming.url}`, { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(outgoing);
    });
    incoming.pipe(sent);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}
