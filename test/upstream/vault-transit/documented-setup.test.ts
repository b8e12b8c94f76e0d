// What docs/upstreams/vault-transit.md tells an administrator to type, typed.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { parseAllDocuments } from 'yaml';
import type { VaultLogin } from '../../../src/upstream/vault-transit/options.ts';
import { fails } from '../../contract/upstream-contract.ts';
import { installation } from '../../counterparts/counterpart.ts';
import { type OpenBao, requireOpenBao, startOpenBao } from '../../counterparts/openbao/start.ts';
import { serviceAccountJwt, startFakeKubernetes } from './fake-kubernetes.ts';
import { CONTEXT, call, DEK, openProvider, succeeds } from './world.ts';

const page = readFileSync(new URL('../../../docs/upstreams/vault-transit.md', import.meta.url), 'utf8');
const commands = [...page.matchAll(/^```sh\n(.*?)^```$/gms)]
  .map(([, block = '']) => block)
  .filter((block) => block.includes('bao '));
const blocks = commands.filter((block) => !block.includes('kubernetes'));

interface Administrator {
  readonly bao: OpenBao;
  /** In the directory where it types. */
  readonly file: (name: string) => string;
  /** Rejects with what was written to standard error. */
  readonly type: (block: string) => Promise<void>;
}

/** With `kubectl` as the script that stands in for it. */
async function administrator(t: ExecutionContext, kubectl = '#!/bin/false\n'): Promise<Administrator> {
  const bao = await startOpenBao();
  t.teardown(() => bao.stop());
  const directory = mkdtempSync(join(tmpdir(), 'dekd-vault-setup-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const file = (name: string) => join(directory, name);
  mkdirSync(file('bin'));
  writeFileSync(file('bin/kubectl'), kubectl, { mode: 0o700 });
  const path = `${file('bin')}:${join(installation('openbao') ?? '', 'bin')}:/usr/bin:/bin`;
  const env = { PATH: path, HOME: directory, BAO_ADDR: bao.address, BAO_TOKEN: bao.rootToken };
  const type = async (block: string): Promise<void> => {
    await promisify(execFile)('sh', ['-eu', '-c', block], { cwd: directory, env });
  };
  return { bao, file, type };
}

test('the commands of the page make a KEK, a policy, and logins that wrap and unwrap with it and nothing else', async (t) => {
  if (!requireOpenBao(t)) return;
  const { bao, file, type } = await administrator(t);
  for (const block of blocks) await type(block);

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

const ACCOUNT = 'shop:orders';
const KEK = 'vault-transit:transit/keys/orders';
/** What the cluster answers to the commands of the page. */
const KUBECTL = `#!/bin/sh
case "$*" in
  "apply -f -") cat > applied.yaml ;;
  "wait --for=jsonpath={.data.token} --namespace vault secret/vault-reviewer") test -s applied.yaml ;;
  "get secret vault-reviewer --namespace vault -o jsonpath={.data.token}") printf %s reviewer-jwt | base64 ;;
  "get secret vault-reviewer --namespace vault -o jsonpath={.data.ca\\.crt}") base64 < ca.crt ;;
  *) echo "kubectl $*: not on the page" >&2; exit 1 ;;
esac
`;

test('Kubernetes, with OpenBao outside of the cluster: the commands of the page make a login that wraps and unwraps', async (t) => {
  if (!requireOpenBao(t)) return;
  const { bao, file, type } = await administrator(t, KUBECTL);
  for (const block of blocks) await type(block);
  const kubernetes = await startFakeKubernetes(t, bao, { reviewer: 'reviewer-jwt', account: ACCOUNT });
  writeFileSync(file('ca.crt'), kubernetes.ca);
  const [inside = '', outside = '', role = ''] = commands.filter((block) => block.includes('auth/kubernetes/'));

  const mounted = '/var/run/secrets/kubernetes.io/serviceaccount/ca.crt';
  // What the page says that one outside of a cluster answers to the commands for inside.
  const refusal = `open ${mounted}: no such file or directory`;
  t.true(page.includes(refusal));
  if (existsSync(mounted)) await type(inside);
  else await t.throwsAsync(type(inside), { message: new RegExp(refusal) });
  await type('bao auth disable kubernetes');

  await type(outside.replace('https://api.cluster.example:6443', kubernetes.address));
  await type(role);
  t.false(existsSync(file('reviewer.jwt')));
  const provider = async (account: string) => {
    const tokenFile = file(account);
    writeFileSync(tokenFile, serviceAccountJwt(account), { mode: 0o600 });
    return openProvider(t, {
      addresses: [bao.address],
      login: { method: 'kubernetes', role: 'dekd-orders', tokenFile },
    });
  };
  const orders = await provider(ACCOUNT);
  const wrapped = await orders.wrap(KEK, DEK, CONTEXT, call());
  t.deepEqual(new Uint8Array(await orders.unwrap(KEK, wrapped, CONTEXT, call())), DEK);
  t.is(kubernetes.reviews(), 1);
  await fails(t, (await provider('shop:other')).wrap(KEK, DEK, CONTEXT, call()), 'unauthenticated');

  // The one answer to a CA that is not the API server's, and to a reviewer without the right.
  const login = `bao write auth/kubernetes/login role=dekd-orders jwt=@${ACCOUNT}`;
  await type(login);
  const other = await succeeds(bao, 'POST', 'pki/root/rotate/internal', { common_name: 'other' });
  writeFileSync(file('other.pem'), `${other.json.data.certificate}\n`);
  const config = `bao write auth/kubernetes/config kubernetes_host=${kubernetes.address} disable_local_ca_jwt=true`;
  for (const wrong of [
    'kubernetes_ca_cert=@other.pem token_reviewer_jwt=reviewer-jwt',
    'kubernetes_ca_cert=@ca.crt token_reviewer_jwt=somebody',
    // Then the JWT that logs in asks, which has no right to.
    'kubernetes_ca_cert=@ca.crt token_reviewer_jwt=',
  ]) {
    await type(`${config} ${wrong}`);
    await t.throwsAsync(type(login), { message: /Code: 403.*permission denied/s }, wrong);
  }
});

test('Kubernetes: what the page applies is the binding and the Secret of one service account', (t) => {
  const manifests = [...page.matchAll(/^(?:```yaml\n|kubectl apply -f - <<'END'\n)(apiVersion.*?)^(?:```|END)$/gms)]
    .flatMap(([, text = '']) => parseAllDocuments(text))
    .map((document) => document.toJS());
  const account = { name: 'vault-reviewer', namespace: 'vault' };
  t.like(manifests, [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: account },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:auth-delegator' },
      subjects: [{ kind: 'ServiceAccount', ...account }],
    },
    {
      apiVersion: 'v1',
      kind: 'Secret',
      type: 'kubernetes.io/service-account-token',
      metadata: {
        namespace: account.namespace,
        annotations: { 'kubernetes.io/service-account.name': account.name },
      },
    },
  ]);
});
