import { chmodSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import type { ChildProvider } from '../../../src/upstream/child/child-provider.ts';
import type { WrappedDek } from '../../../src/upstream/provider.ts';
import { open } from '../../../src/upstream/vault-transit/provider.ts';
import { wrapContext } from '../../contract/upstream-context.ts';
import { fails } from '../../contract/upstream-contract.ts';
import { type OpenBao, requireOpenBao } from '../../counterparts/openbao/start.ts';
import {
  CONTEXT,
  call,
  DEK,
  makeAppRole,
  makeKek,
  openProvider,
  policyOf,
  Servers,
  secretFile,
  succeeds,
  writePolicy,
} from './world.ts';

const servers = new Servers();
test.after.always(() => servers.stop());

interface Run {
  readonly bao: OpenBao;
  readonly provider: ChildProvider;
  readonly kek: string;
  readonly name: string;
  readonly wrapped: WrappedDek;
}

/** A KEK, a provider that may use it and a DEK that it wrapped. */
function real(title: string, check: (t: ExecutionContext, run: Run) => Promise<void>, settings: object = {}): void {
  test(title, async (t) => {
    if (!requireOpenBao(t)) return;
    const bao = await servers.get();
    const { name, kek } = await makeKek(bao, settings);
    await writePolicy(bao, name, policyOf(name));
    const { login } = await makeAppRole(t, bao, name);
    const provider = await openProvider(t, { addresses: [bao.address], login });
    const wrapped = await provider.wrap(kek, DEK, CONTEXT, call());
    await check(t, { bao, provider, kek, name, wrapped });
  });
}

real(
  'the wrapped DEK is the ciphertext of transit, and its version',
  async (t, { bao, provider, kek, name, wrapped }) => {
    t.is(wrapped.algorithm, 1);
    t.is(wrapped.kekVersion, '1');
    const ciphertext = Buffer.from(wrapped.bytes).toString('latin1');
    t.regex(ciphertext, /^vault:v1:[A-Za-z0-9+/]{80}$/);
    // What anybody with the right to decrypt can do without dekd.
    const associated = Buffer.from(CONTEXT.encoded).toString('base64');
    const body = { ciphertext, associated_data: associated };
    const { json } = await succeeds(bao, 'POST', `transit/decrypt/${name}`, body);
    t.deepEqual(Buffer.from(json.data.plaintext, 'base64'), Buffer.from(DEK));
    t.deepEqual(Buffer.from(await provider.unwrap(kek, wrapped, CONTEXT, call())), Buffer.from(DEK));
  },
);

real(
  'XChaCha20-Poly1305 wraps too',
  async (t, { provider, kek, wrapped }) => {
    t.is(wrapped.bytes.length, 'vault:v1:'.length + 96);
    t.deepEqual(Buffer.from(await provider.unwrap(kek, wrapped, CONTEXT, call())), Buffer.from(DEK));
  },
  { type: 'xchacha20-poly1305' },
);

for (const type of ['aes256-gcm96', 'chacha20-poly1305', 'xchacha20-poly1305']) {
  real(
    `${type}: forged, altered, cut, of another context or of a version that never was: invalid`,
    async (t, { provider, kek, wrapped }) => {
      const version1 = 'vault:v1:';
      const sealed = Buffer.from(Buffer.from(wrapped.bytes).toString('latin1').slice(version1.length), 'base64');
      const altered = Buffer.from(sealed);
      altered[20]! ^= 1;
      for (const bytes of [altered, sealed.subarray(0, -3), sealed.subarray(0, 24), Buffer.alloc(sealed.length, 7)]) {
        const forged = { ...wrapped, bytes: Buffer.from(version1 + bytes.toString('base64')) };
        await fails(t, provider.unwrap(kek, forged, CONTEXT, call()), 'invalid');
      }
      await fails(t, provider.unwrap(kek, wrapped, wrapContext({ 'dekd:key': 'carts' }), call()), 'invalid');
      for (const kekVersion of ['2', '9999999999', '99999999999', 'x', '0', '-1']) {
        const bytes = Buffer.from(`vault:v${kekVersion}:${sealed.toString('base64')}`);
        await fails(t, provider.unwrap(kek, { ...wrapped, kekVersion, bytes }, CONTEXT, call()), 'invalid');
      }
    },
    { type },
  );
}

real('what the KEK wrapped and is no DEK is invalid', async (t, { bao, provider, kek, name }) => {
  const associated = Buffer.from(CONTEXT.encoded).toString('base64');
  for (const length of [31, 33, 128]) {
    const body = { plaintext: Buffer.alloc(length).toString('base64'), associated_data: associated };
    const { json } = await succeeds(bao, 'POST', `transit/encrypt/${name}`, body);
    const bytes = Buffer.from(json.data.ciphertext);
    await fails(t, provider.unwrap(kek, { kekVersion: '1', algorithm: 1, bytes }, CONTEXT, call()), 'invalid');
  }
});

real('bytes of one version and the name of another are invalid', async (t, { provider, kek, wrapped }) => {
  await fails(t, provider.unwrap(kek, { ...wrapped, kekVersion: '2' }, CONTEXT, call()), 'invalid');
});

real(
  'below min_decryption_version a version is refused, the others serve',
  async (t, { bao, provider, kek, name, wrapped }) => {
    await succeeds(bao, 'POST', `transit/keys/${name}/rotate`);
    const newer = await provider.wrap(kek, DEK, CONTEXT, call());
    t.is(newer.kekVersion, '2');
    await succeeds(bao, 'POST', `transit/keys/${name}/config`, { min_decryption_version: 2 });
    await fails(t, provider.unwrap(kek, wrapped, CONTEXT, call()), 'refused', 'version');
    t.deepEqual(Buffer.from(await provider.unwrap(kek, newer, CONTEXT, call())), Buffer.from(DEK));
    const { versions } = await provider.describe(kek, call());
    t.deepEqual(
      versions.map(({ version, state }) => [version, state]),
      [['2', 'active']],
    );
  },
);

real('a rotated KEK has versions that decrypt only', async (t, { bao, provider, kek, name }) => {
  await succeeds(bao, 'POST', `transit/keys/${name}/rotate`);
  const { versions, state } = await provider.describe(kek, call());
  t.is(state, 'active');
  t.deepEqual(
    versions.map((each) => [each.version, each.state]),
    [
      ['1', 'decrypt-only'],
      ['2', 'active'],
    ],
  );
  t.true(versions.every(({ createdAt }) => Math.abs(createdAt - Date.now()) < 60_000));
});

real('a soft-deleted KEK is refused, until it is restored', async (t, { bao, provider, kek, name, wrapped }) => {
  await succeeds(bao, 'DELETE', `transit/keys/${name}/soft-delete`);
  const wrap = await fails(t, provider.wrap(kek, DEK, CONTEXT, call()), 'refused', 'kek');
  const unwrap = await fails(t, provider.unwrap(kek, wrapped, CONTEXT, call({ fresh: true })), 'refused', 'kek');
  t.deepEqual([wrap?.condition, unwrap?.condition], ['disabled', 'disabled']);
  t.is((await provider.describe(kek, call())).state, 'disabled');
  await succeeds(bao, 'POST', `transit/keys/${name}/soft-delete-restore`);
  t.deepEqual(Buffer.from(await provider.unwrap(kek, wrapped, CONTEXT, call())), Buffer.from(DEK));
});

real('a deleted KEK is refused and does not come back', async (t, { bao, provider, kek, name, wrapped }) => {
  await succeeds(bao, 'POST', `transit/keys/${name}/config`, { deletion_allowed: true });
  await succeeds(bao, 'DELETE', `transit/keys/${name}`);
  for (const refused of [
    provider.unwrap(kek, wrapped, CONTEXT, call()),
    provider.wrap(kek, DEK, CONTEXT, call()),
    provider.describe(kek, call()),
  ]) {
    t.is((await fails(t, refused, 'refused', 'kek'))?.condition, 'missing');
  }
  t.is((await bao.call('GET', `transit/keys/${name}`)).status, 404);
});

test('an encrypt call makes no key, even with a token that may create one', async (t) => {
  if (!requireOpenBao(t)) return;
  const bao = await servers.get();
  const login = { method: 'token', file: secretFile(t, bao.rootToken) } as const;
  const provider = await openProvider(t, { addresses: [bao.address], login });
  const failure = await fails(
    t,
    provider.wrap('vault-transit:transit/keys/nobody', DEK, CONTEXT, call()),
    'refused',
    'kek',
  );
  t.is(failure?.condition, 'missing');
  t.is((await bao.call('GET', 'transit/keys/nobody')).status, 404);
});

test('a key that can be no KEK is refused, and says what to make', async (t) => {
  if (!requireOpenBao(t)) return;
  const bao = await servers.get();
  const login = { method: 'token', file: secretFile(t, bao.rootToken) } as const;
  const provider = await openProvider(t, { addresses: [bao.address], login });
  const cases: readonly [settings: object, problem: RegExp, wraps: boolean][] = [
    [{ derived: true }, /is derived \(or convergent\); make one with derived: false/, false],
    [{ derived: true, convergent_encryption: true }, /is derived/, false],
    [{ type: 'rsa-2048' }, /is of type rsa-2048; make one of type aes256-gcm96, /, false],
    [{ type: 'ecdsa-p256' }, /is of type ecdsa-p256/, false],
    [{ type: 'aes128-gcm96' }, /is of type aes128-gcm96/, true],
  ];
  for (const [settings, problem, wraps] of cases) {
    const { kek } = await makeKek(bao, settings);
    const failure = await fails(t, provider.describe(kek, call()), 'refused', 'kek');
    t.regex(failure?.message ?? '', problem);
    if (!wraps) await fails(t, provider.wrap(kek, DEK, CONTEXT, call()), 'refused', 'kek');
  }
});

real(
  'a permission that is taken away is refused with scope access, and its return serves',
  async (t, { bao, provider, kek, name, wrapped }) => {
    const { kek: other } = await makeKek(bao);
    await fails(t, provider.wrap(other, DEK, CONTEXT, call()), 'refused', 'access');
    await writePolicy(bao, name, `path "transit/encrypt/${name}" { capabilities = ["deny"] }`);
    await fails(t, provider.wrap(kek, DEK, CONTEXT, call()), 'refused', 'access');
    await fails(t, provider.unwrap(kek, wrapped, CONTEXT, call()), 'refused', 'access');
    await fails(t, provider.unwrap(kek, wrapped, CONTEXT, call({ fresh: true })), 'refused', 'access');
    await fails(t, provider.describe(kek, call()), 'refused', 'access');
    await writePolicy(bao, name, policyOf(name));
    t.deepEqual(Buffer.from(await provider.unwrap(kek, wrapped, CONTEXT, call())), Buffer.from(DEK));
  },
);

real('no such mount, or namespace, is an outage', async (t, { provider, wrapped }) => {
  for (const kek of ['vault-transit:nowhere/keys/k', 'vault-transit:team/transit/keys/k']) {
    const wrap = await t.throwsAsync(provider.wrap(kek, DEK, CONTEXT, call()));
    t.true(['access', undefined].includes((wrap as unknown as { scope?: string }).scope), wrap?.message);
    await t.throwsAsync(provider.unwrap(kek, wrapped, CONTEXT, call()));
  }
});

test('no such mount is an outage for a token that may do everything', async (t) => {
  if (!requireOpenBao(t)) return;
  const bao = await servers.get();
  const login = { method: 'token', file: secretFile(t, bao.rootToken) } as const;
  const provider = await openProvider(t, { addresses: [bao.address], login });
  const failure = await fails(t, provider.wrap('vault-transit:nowhere/keys/k', DEK, CONTEXT, call()), 'unreachable');
  t.regex(failure?.message ?? '', /no handler for route/);
  await fails(t, provider.describe('vault-transit:nowhere/keys/k', call()), 'unreachable');
});

test('KEK and login inside a namespace', async (t) => {
  if (!requireOpenBao(t)) return;
  const bao = await servers.get();
  await succeeds(bao, 'POST', 'sys/namespaces/team-a', {});
  await succeeds(bao, 'POST', 'team-a/sys/mounts/transit', { type: 'transit' });
  await succeeds(bao, 'POST', 'team-a/transit/keys/orders', {});
  await succeeds(bao, 'PUT', 'team-a/sys/policies/acl/wrap', { policy: policyOf('orders') });
  await succeeds(bao, 'POST', 'team-a/sys/auth/approle', { type: 'approle' });
  await succeeds(bao, 'POST', 'team-a/auth/approle/role/agent', { token_policies: ['wrap'] });
  const roleId = await succeeds(bao, 'GET', 'team-a/auth/approle/role/agent/role-id');
  const secretId = await succeeds(bao, 'POST', 'team-a/auth/approle/role/agent/secret-id');
  const login = {
    method: 'approle',
    roleIdFile: secretFile(t, roleId.json.data.role_id),
    secretIdFile: secretFile(t, secretId.json.data.secret_id),
  } as const;
  const provider = await openProvider(t, { addresses: [bao.address], login, namespace: 'team-a' });
  const kek = 'vault-transit:team-a/transit/keys/orders';
  const wrapped = await provider.wrap(kek, DEK, CONTEXT, call());
  t.deepEqual(Buffer.from(await provider.unwrap(kek, wrapped, CONTEXT, call())), Buffer.from(DEK));
  await fails(t, provider.wrap('vault-transit:team-a/transit/keys/other', DEK, CONTEXT, call()), 'refused', 'access');
});

test('TLS with an authority of its own, and a Unix socket', async (t) => {
  if (!requireOpenBao(t)) return;
  const secure = new Servers();
  t.teardown(() => secure.stop());
  const bao = await secure.get({ tls: true });
  const { kek } = await makeKek(bao);
  const login = { method: 'token', file: secretFile(t, bao.rootToken) } as const;
  const ca = bao.caFile as string;
  const trusting = await openProvider(t, { addresses: [bao.address], login, ca });
  const wrapped = await trusting.wrap(kek, DEK, CONTEXT, call());
  t.deepEqual(Buffer.from(await trusting.unwrap(kek, wrapped, CONTEXT, call())), Buffer.from(DEK));
  const local = await openProvider(t, { addresses: [bao.unixAddress], login });
  t.deepEqual(Buffer.from(await local.unwrap(kek, wrapped, CONTEXT, call({ fresh: true }))), Buffer.from(DEK));

  const distrusting = await openProvider(t, { addresses: [bao.address], login });
  const unknown = await fails(t, distrusting.unwrap(kek, wrapped, CONTEXT, call()), 'unreachable');
  t.regex(unknown?.message ?? '', /UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT/);
  const misnamed = await openProvider(t, { addresses: [bao.address], login, ca, serverName: 'vault.example' });
  const altname = await fails(t, misnamed.unwrap(kek, wrapped, CONTEXT, call()), 'unreachable');
  t.regex(altname?.message ?? '', /ERR_TLS_CERT_ALTNAME_INVALID/);
  const plain = await openProvider(t, { addresses: [bao.address.replace('https:', 'http:')], login });
  const plainFailure = await fails(t, plain.unwrap(kek, wrapped, CONTEXT, call()), 'unreachable');
  t.regex(plainFailure?.message ?? '', /HTTP 400 .* not in the form of Vault|ECONNRESET/);
});

test('throttled, sealed, stopped and killed', async (t) => {
  if (!requireOpenBao(t)) return;
  const bao = await new Servers().get();
  t.teardown(() => bao.stop());
  const { kek, name } = await makeKek(bao);
  await writePolicy(bao, name, policyOf(name));
  const { login } = await makeAppRole(t, bao, name);
  const provider = await openProvider(t, { addresses: [bao.address], login });
  const wrapped = await provider.wrap(kek, DEK, CONTEXT, call());

  await succeeds(bao, 'POST', 'sys/quotas/rate-limit/all', { path: 'transit/', rate: 1, interval: '60s' });
  await t.throwsAsync(
    provider.unwrap(kek, wrapped, CONTEXT, call()).then(() => provider.unwrap(kek, wrapped, CONTEXT, call())),
  );
  await fails(t, provider.unwrap(kek, wrapped, CONTEXT, call()), 'throttled');
  await succeeds(bao, 'DELETE', 'sys/quotas/rate-limit/all');

  bao.kill('SIGSTOP');
  await sleep(100);
  const hung = await fails(
    t,
    provider.unwrap(kek, wrapped, CONTEXT, call({ signal: AbortSignal.timeout(200) })),
    'unreachable',
  );
  t.regex(hung?.message ?? '', /no answer before the call was given up/);
  bao.kill('SIGCONT');
  t.deepEqual(Buffer.from(await provider.unwrap(kek, wrapped, CONTEXT, call())), Buffer.from(DEK));

  await succeeds(bao, 'PUT', 'sys/seal');
  const sealed = await fails(t, provider.unwrap(kek, wrapped, CONTEXT, call()), 'unreachable');
  t.regex(sealed?.message ?? '', /HTTP 503 .*: Vault is sealed/);
  await fails(t, provider.unwrap(kek, wrapped, CONTEXT, call({ fresh: true })), 'unreachable');

  bao.kill('SIGKILL');
  await sleep(100);
  const killed = await fails(t, provider.unwrap(kek, wrapped, CONTEXT, call()), 'unreachable');
  t.regex(killed?.message ?? '', /ECONNREFUSED|ECONNRESET/);
});

test('an agent starts while nothing answers; what an operator must put right is said at once', async (t) => {
  const login = { method: 'token', file: secretFile(t, 's.token') } as const;
  const addresses = ['http://127.0.0.1:9'];
  const provider = await openProvider(t, { addresses, login });
  t.deepEqual(provider.warnings, []);
  const failure = await fails(t, provider.wrap('vault-transit:transit/keys/k', DEK, CONTEXT, call()), 'unreachable');
  t.is(failure?.message, 'http://127.0.0.1:9: ECONNREFUSED');

  const missing = await openProvider(t, { addresses, login: { method: 'token', file: '/nonexistent/token' } });
  t.deepEqual(missing.warnings, ['/nonexistent/token does not exist yet: no login until it does']);
  const early = await fails(t, missing.wrap('vault-transit:transit/keys/k', DEK, CONTEXT, call()), 'unauthenticated');
  t.regex(early?.message ?? '', /^token \/nonexistent\/token: does not exist \(yet\)/);

  const wrong: readonly [changes: object, message: RegExp][] = [
    [{ login: { method: 'token', file: secretFile(t, '') } }, /is empty; write the credential/],
    [{ login: { method: 'token', file: secretFile(t, 'two words') } }, /is not one line of printable ASCII/],
    [{ login: { method: 'token', file: '/' } }, /\/: is not a regular file/],
    [{ ca: '/nonexistent/ca.pem' }, /^ca \/nonexistent\/ca.pem: cannot be read by uid \d+ \(ENOENT\)$/],
    [{ ca: secretFile(t, 'no certificate') }, /holds no certificate; write PEM into it/],
  ];
  for (const [changes, message] of wrong) {
    const call = open({ type: 'vault-transit', addresses, login, ...changes }, {});
    await t.throwsAsync(call, { name: 'DekdError', message });
  }
});

test('a credential that everybody can read is a warning', async (t) => {
  const file = secretFile(t, 's.token');
  chmodSync(file, 0o644);
  const provider = await openProvider(t, { addresses: ['http://127.0.0.1:9'], login: { method: 'token', file } });
  t.deepEqual(provider.warnings, [`${file} can be read by every user of this machine; chmod 600`]);
});

real('no context, another context and other encodings do not open it', async (t, { provider, kek, wrapped }) => {
  for (const context of [wrapContext({}), wrapContext({ ...Object.fromEntries(CONTEXT.pairs), tenant: 'umbrella' })]) {
    await fails(t, provider.unwrap(kek, wrapped, context, call()), 'invalid');
  }
  for (const text of [
    '',
    'vault:v1:',
    'vault:v1:!!!!',
    `vault:v01:${'A'.repeat(80)}`,
    `vault:v1:${'A'.repeat(32)}`,
    `vault:v1:${'A'.repeat(400)}`,
  ]) {
    await fails(t, provider.unwrap(kek, { ...wrapped, bytes: Buffer.from(text) }, CONTEXT, call()), 'invalid');
  }
});
