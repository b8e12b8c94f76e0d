import { rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { FRESH_MS } from '../../../../src/upstream/child/child-provider.ts';
import { fails } from '../../../contract/upstream-contract.ts';
import { type OpenBao, requireOpenBao } from '../../../counterparts/openbao/start.ts';
import { serviceAccountJwt } from '../fake-kubernetes.ts';
import { DECRYPTED, ENCRYPTED, json, startFakeVault } from '../fake-vault.ts';
import {
  CONTEXT,
  call,
  DEK,
  issueToken,
  makeAppRole,
  makeKek,
  openProvider,
  policyOf,
  Servers,
  secretFile,
  succeeds,
  writePolicy,
} from '../world.ts';

const servers = new Servers();
test.after.always(() => servers.stop());

interface Run {
  readonly bao: OpenBao;
  readonly kek: string;
  /** Its policy has that name too. */
  readonly name: string;
}

function real(title: string, check: (t: ExecutionContext, run: Run) => Promise<void>): void {
  test(title, async (t) => {
    if (!requireOpenBao(t)) return;
    const bao = await servers.get();
    const { name, kek } = await makeKek(bao);
    await writePolicy(bao, name, policyOf(name));
    await check(t, { bao, kek, name });
  });
}

/** The accessors of the tokens that a policy was given to. */
async function tokensOf(bao: OpenBao, policy: string): Promise<string[]> {
  const { json } = await succeeds(bao, 'LIST', 'auth/token/accessors');
  const found: string[] = [];
  for (const accessor of json.data.keys as string[]) {
    const looked = await bao.call('POST', 'auth/token/lookup-accessor', { accessor });
    if (looked.json?.data?.policies?.includes(policy)) found.push(accessor);
  }
  return found;
}

real('AppRole: one login serves many calls, and its token is revoked at the end', async (t, { bao, kek, name }) => {
  const { login } = await makeAppRole(t, bao, name);
  const provider = await openProvider(t, { addresses: [bao.address], login });
  t.deepEqual(await tokensOf(bao, name), []);
  await Promise.all(Array.from({ length: 20 }, () => provider.wrap(kek, DEK, CONTEXT, call())));
  t.is((await tokensOf(bao, name)).length, 1);
  await provider.close();
  t.deepEqual(await tokensOf(bao, name), []);
});

real('AppRole: a revoked token is replaced by a new login, within the call', async (t, { bao, kek, name }) => {
  const { login } = await makeAppRole(t, bao, name);
  const provider = await openProvider(t, { addresses: [bao.address], login });
  await provider.wrap(kek, DEK, CONTEXT, call());
  const [accessor] = await tokensOf(bao, name);
  await succeeds(bao, 'POST', 'auth/token/revoke-accessor', { accessor });
  await Promise.all(Array.from({ length: 10 }, () => provider.wrap(kek, DEK, CONTEXT, call())));
  t.is((await tokensOf(bao, name)).length, 1);
});

real('AppRole: a fresh call logs in anew', async (t, { bao, kek, name }) => {
  const { login } = await makeAppRole(t, bao, name);
  const provider = await openProvider(t, { addresses: [bao.address], login });
  await provider.wrap(kek, DEK, CONTEXT, call());
  await sleep(FRESH_MS);
  await provider.wrap(kek, DEK, CONTEXT, call({ fresh: true }));
  t.is((await tokensOf(bao, name)).length, 2);
});

real('AppRole: many fresh calls share the login of a second', async (t, { bao, kek, name }) => {
  const { login } = await makeAppRole(t, bao, name);
  const provider = await openProvider(t, { addresses: [bao.address], login });
  const begunMs = performance.now();
  for (let count = 0; count < 50; count++) await provider.wrap(kek, DEK, CONTEXT, call({ fresh: true }));
  const seconds = (performance.now() - begunMs) / FRESH_MS;
  const tokens = (await tokensOf(bao, name)).length;
  t.true(tokens <= 1 + seconds, `${tokens} tokens in ${seconds} s`);
});

real('AppRole: wrong and revoked secret ids are unauthenticated', async (t, { bao, kek, name }) => {
  const { login, secretIdAccessor } = await makeAppRole(t, bao, name);
  const wrong = { ...login, secretIdFile: secretFile(t, 'no-such-secret') };
  const first = await openProvider(t, { addresses: [bao.address], login: wrong });
  const failure = await fails(t, first.wrap(kek, DEK, CONTEXT, call()), 'unauthenticated');
  t.regex(
    failure?.message ?? '',
    /^login at auth\/approle\/login: HTTP 400 .*: invalid role or secret ID; it is not tried again for 4 minutes/,
  );
  const elsewhere = await openProvider(t, { addresses: [bao.address], login: { ...login, mount: 'nowhere' } });
  await fails(t, elsewhere.wrap(kek, DEK, CONTEXT, call()), 'unauthenticated');

  const provider = await openProvider(t, { addresses: [bao.address], login });
  await provider.wrap(kek, DEK, CONTEXT, call());
  const { json: roles } = await succeeds(bao, 'LIST', 'auth/approle/role');
  for (const role of roles.data.keys) {
    await bao.call('POST', `auth/approle/role/${role}/secret-id-accessor/destroy`, {
      secret_id_accessor: secretIdAccessor,
    });
  }
  await provider.wrap(kek, DEK, CONTEXT, call());
  await sleep(FRESH_MS);
  await fails(t, provider.wrap(kek, DEK, CONTEXT, call({ fresh: true })), 'unauthenticated');
});

real(
  'AppRole: short tokens are renewed, and after their longest life logged in for again',
  async (t, { bao, kek, name }) => {
    const { login } = await makeAppRole(t, bao, name, { token_ttl: '3s', token_max_ttl: '6s' });
    const provider = await openProvider(t, { addresses: [bao.address], login });
    await provider.wrap(kek, DEK, CONTEXT, call());
    const [first] = await tokensOf(bao, name);
    await sleep(3_900);
    t.deepEqual(await tokensOf(bao, name), [first], 'renewed while nobody called');
    await sleep(4_500);
    await provider.wrap(kek, DEK, CONTEXT, call());
    const now = await tokensOf(bao, name);
    t.is(now.length, 1);
    t.not(now[0], first);
  },
);

real('token: renewed from the start, also while nobody calls', async (t, { bao, kek, name }) => {
  const { file } = await issueToken(t, bao, name, { period: '3s' });
  const provider = await openProvider(t, { addresses: [bao.address], login: { method: 'token', file } });
  await sleep(6_500);
  await provider.wrap(kek, DEK, CONTEXT, call());
  await provider.close();
  t.is((await tokensOf(bao, name)).length, 1, 'it is not ours to revoke');
});

real(
  'token: revoked and expired are unauthenticated; a new one in the file serves at once',
  async (t, { bao, kek, name }) => {
    const { file, token } = await issueToken(t, bao, name);
    const provider = await openProvider(t, { addresses: [bao.address], login: { method: 'token', file } });
    await provider.wrap(kek, DEK, CONTEXT, call());
    await succeeds(bao, 'POST', 'auth/token/revoke', { token });
    for (const fresh of [false, true]) {
      await fails(t, provider.wrap(kek, DEK, CONTEXT, call({ fresh })), 'unauthenticated');
    }
    const next = await issueToken(t, bao, name, { ttl: '1s', renewable: false });
    writeFileSync(file, next.token);
    await provider.wrap(kek, DEK, CONTEXT, call());
    await sleep(1_500);
    await fails(t, provider.wrap(kek, DEK, CONTEXT, call()), 'unauthenticated');
    rmSync(file);
    await fails(t, provider.wrap(kek, DEK, CONTEXT, call()), 'unauthenticated');
    writeFileSync(file, (await issueToken(t, bao, name, { num_uses: 10 })).token);
    await provider.wrap(kek, DEK, CONTEXT, call());
  },
);

real('token: unknown, used up, or without the right to look itself up', async (t, { bao, kek, name }) => {
  const login = { method: 'token', file: secretFile(t, 's.nobody') } as const;
  const unknown = await openProvider(t, { addresses: [bao.address], login });
  const failure = await fails(t, unknown.wrap(kek, DEK, CONTEXT, call()), 'unauthenticated');
  t.regex(failure?.message ?? '', /revoked, has expired, is used up or is unknown, and its file still holds it/);
  t.false(failure?.message.includes('s.nobody'));

  const narrow = await issueToken(t, bao, name, { no_default_policy: true });
  const provider = await openProvider(t, { addresses: [bao.address], login: { method: 'token', file: narrow.file } });
  await provider.wrap(kek, DEK, CONTEXT, call());
  // What docs/upstreams/vault-transit.md warns of: without that right no refusal can be told from a dead token.
  await writePolicy(bao, name, 'path "transit/encrypt/nothing" { capabilities = ["update"] }');
  await fails(t, provider.wrap(kek, DEK, CONTEXT, call()), 'unauthenticated');
});

real(
  'Kubernetes: the service account token logs in, and a service account that is not bound does not',
  async (t, { bao, kek, name }) => {
    // What Kubernetes itself does here: it says whose token it is.
    const kubernetes = await startFakeVault(t, ({ body }, response) => {
      const { spec } = JSON.parse(body) as { spec: { token: string } };
      const authenticated = spec.token !== revoked;
      const user = { username: 'system:serviceaccount:pay:agent', uid: 'u-1', groups: [] };
      json(response, 201, {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        status: { authenticated, user },
      });
    });
    const jwtOf = (account: string): string => serviceAccountJwt(`pay:${account}`);
    const revoked = `${jwtOf('agent')}AAAA`;
    const mount = `kubernetes-${name}`;
    // It wants one, though it speaks plain HTTP here.
    await succeeds(bao, 'POST', 'sys/mounts/pki', { type: 'pki' });
    const issued = await succeeds(bao, 'POST', 'pki/root/generate/internal', { common_name: 'test' });
    const certificate = issued.json.data.certificate as string;
    await succeeds(bao, 'POST', `sys/auth/${mount}`, { type: 'kubernetes' });
    await succeeds(bao, 'POST', `auth/${mount}/config`, {
      kubernetes_host: kubernetes.address,
      token_reviewer_jwt: 'reviewer',
      disable_local_ca_jwt: true,
      kubernetes_ca_cert: certificate,
    });
    await succeeds(bao, 'POST', `auth/${mount}/role/agent`, {
      bound_service_account_names: ['agent'],
      bound_service_account_namespaces: ['pay'],
      token_policies: [name],
      token_ttl: '20m',
    });

    const loginWith = (jwt: string, role = 'agent') =>
      ({ method: 'kubernetes', mount, role, tokenFile: secretFile(t, jwt) }) as const;
    const provider = await openProvider(t, { addresses: [bao.address], login: loginWith(jwtOf('agent')) });
    await provider.wrap(kek, DEK, CONTEXT, call());
    t.is(kubernetes.seen.length, 1);
    for (const login of [loginWith(jwtOf('other')), loginWith(revoked), loginWith(jwtOf('agent'), 'nobody')]) {
      const refused = await openProvider(t, { addresses: [bao.address], login });
      await fails(t, refused.wrap(kek, DEK, CONTEXT, call()), 'unauthenticated');
    }
    // OpenBao says the same of a Kubernetes that it does not reach: no refusal either way.
    await kubernetes.close();
    await sleep(FRESH_MS);
    await fails(t, provider.wrap(kek, DEK, CONTEXT, call({ fresh: true })), 'unauthenticated');
    await provider.wrap(kek, DEK, CONTEXT, call());
  },
);

real(
  'AppRole: a token that may not look itself up is replaced once, then unauthenticated',
  async (t, { bao, kek, name }) => {
    const { login } = await makeAppRole(t, bao, name, { token_no_default_policy: true });
    const provider = await openProvider(t, { addresses: [bao.address], login });
    await provider.wrap(kek, DEK, CONTEXT, call());
    await writePolicy(bao, name, 'path "transit/encrypt/nothing" { capabilities = ["update"] }');
    for (let count = 0; count < 20; count++) {
      const failure = await fails(t, provider.wrap(kek, DEK, CONTEXT, call()), 'unauthenticated');
      t.is(failure?.message, 'a token that was just issued is refused, by auth/token/lookup-self too');
    }
    t.is((await tokensOf(bao, name)).length, 2);
  },
);

real(
  'token: at the end of its longest life it is dead, and a new one in the file serves',
  async (t, { bao, kek, name }) => {
    const { file } = await issueToken(t, bao, name, { ttl: '3s', explicit_max_ttl: '6s' });
    const provider = await openProvider(t, { addresses: [bao.address], login: { method: 'token', file } });
    await sleep(4_500);
    await provider.wrap(kek, DEK, CONTEXT, call());
    await sleep(2_500);
    await fails(t, provider.wrap(kek, DEK, CONTEXT, call()), 'unauthenticated');
    writeFileSync(file, (await issueToken(t, bao, name)).token);
    await provider.wrap(kek, DEK, CONTEXT, call());
  },
);

test('a login whose answer is not in the form of Vault is an outage, and its token goes nowhere', async (t) => {
  const secrets = { roleIdFile: secretFile(t, 'role'), secretIdFile: secretFile(t, 'secret') };
  const login = { method: 'approle', ...secrets } as const;
  const auth = { client_token: 's.x', lease_duration: 60, renewable: true };
  const answers = [
    {},
    { auth: null },
    { auth: { ...auth, client_token: 7 } },
    { auth: { ...auth, client_token: 'bad\r\nx-header: y' } },
    { auth: { ...auth, lease_duration: -1 } },
    { auth: { ...auth, lease_duration: '60' } },
  ];
  for (const answer of answers) {
    const vault = await startFakeVault(t, (_seen, response) => json(response, 200, answer));
    const provider = await openProvider(t, { addresses: [vault.address], login });
    const kek = 'vault-transit:transit/keys/orders';
    await fails(t, provider.wrap(kek, DEK, CONTEXT, call()), 'unreachable');
    t.is(vault.seen.length, 1);
    t.deepEqual(JSON.parse(vault.seen[0]?.body ?? ''), { role_id: 'role', secret_id: 'secret' });
  }
});

test('a login that is slower than the call serves the next one', async (t) => {
  const login = {
    method: 'approle',
    roleIdFile: secretFile(t, 'role'),
    secretIdFile: secretFile(t, 'secret'),
  } as const;
  const vault = await startFakeVault(t, ({ path, token }, response) => {
    if (path !== '/v1/auth/approle/login')
      json(response, 200, path.includes('decrypt') ? DECRYPTED : token === 's.x' ? ENCRYPTED : {});
    else
      setTimeout(
        () => json(response, 200, { auth: { client_token: 's.x', lease_duration: 60, renewable: true } }),
        300,
      );
  });
  const provider = await openProvider(t, { addresses: [vault.address], login });
  const kek = 'vault-transit:transit/keys/orders';
  const short = call({ signal: AbortSignal.timeout(100) });
  const failure = await fails(t, provider.wrap(kek, DEK, CONTEXT, short), 'unreachable');
  t.regex(failure?.message ?? '', /the login took longer than the call/);
  await provider.wrap(kek, DEK, CONTEXT, call());
  t.is(vault.seen.filter(({ path }) => path.endsWith('/login')).length, 1);
});

test('through a proxy no token is sent, and its dead token is unauthenticated', async (t) => {
  const denied = { errors: ['permission denied'] };
  const proxy = await startFakeVault(t, (_seen, response) => json(response, 403, denied));
  const provider = await openProvider(t, { addresses: [proxy.address], login: { method: 'proxy' } });
  const kek = 'vault-transit:transit/keys/orders';
  const failure = await fails(t, provider.wrap(kek, DEK, CONTEXT, call()), 'unauthenticated');
  t.regex(failure?.message ?? '', /it is the proxy's own/);
  t.deepEqual(
    proxy.seen.map(({ token }) => token),
    [undefined, undefined],
  );
  await provider.close();
  t.is(proxy.seen.length, 2);
});
