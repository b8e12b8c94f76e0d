// What docs/upstreams/vault-transit.md tells an administrator to type, typed.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { VaultLogin } from '../../../src/upstream/vault-transit/options.ts';
import { fails } from '../../contract/upstream-contract.ts';
import { installation } from '../../counterparts/counterpart.ts';
import { requireOpenBao, startOpenBao } from '../../counterparts/openbao/start.ts';
import { CONTEXT, call, DEK, openProvider } from './world.ts';

const page = readFileSync(new URL('../../../docs/upstreams/vault-transit.md', import.meta.url), 'utf8');
/** Those of the Kubernetes login need a cluster. */
const blocks = [...page.matchAll(/^```sh\n(.*?)^```$/gms)]
  .map(([, block = '']) => block)
  .filter((block) => block.includes('bao ') && !block.includes('kubernetes'));

test('the commands of the page make a KEK, a policy, and logins that wrap and unwrap with it and nothing else', async (t) => {
  if (!requireOpenBao(t)) return;
  const bao = await startOpenBao();
  t.teardown(() => bao.stop());
  const directory = mkdtempSync(join(tmpdir(), 'dekd-vault-setup-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const bin = join(installation('openbao') ?? '', 'bin');
  const env = { PATH: `${bin}:/usr/bin:/bin`, HOME: directory, BAO_ADDR: bao.address, BAO_TOKEN: bao.rootToken };
  for (const block of blocks) execFileSync('sh', ['-eu', '-c', block], { cwd: directory, env });

  const file = (name: string) => join(directory, name);
  const logins: VaultLogin[] = [
    { method: 'approle', roleIdFile: file('role-id'), secretIdFile: file('secret-id') },
    { method: 'token', file: file('token') },
  ];
  for (const name of ['role-id', 'secret-id', 'token']) t.is(statSync(file(name)).mode & 0o777, 0o600, name);
  for (const login of logins) {
    const provider = await openProvider(t, { addresses: [bao.address], login });
    t.deepEqual(provider.warnings, []);
    const wrapped = await provider.wrap('vault-transit:transit/keys/orders', DEK, CONTEXT, call());
    const dek = await provider.unwrap('vault-transit:transit/keys/orders', wrapped, CONTEXT, call());
    t.deepEqual(new Uint8Array(dek), DEK);
    t.is((await provider.describe('vault-transit:transit/keys/orders', call())).state, 'active');
    const other = provider.wrap('vault-transit:transit/keys/others', DEK, CONTEXT, call());
    await fails(t, other, 'refused', 'access');
  }
  const { json } = await bao.call(
    'GET',
    'auth/token/lookup-self',
    undefined,
    readFileSync(file('token'), 'utf8').trim(),
  );
  t.like(json.data, { policies: ['dekd-orders'], renewable: true, period: 86_400, orphan: true });
});
