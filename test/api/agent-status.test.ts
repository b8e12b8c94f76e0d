import test from 'ava';
import { AUDITOR, CUSTODIAN, makeApi, makeCall, STRANGER, USER } from './parts.ts';

test('what the agent holds, of the caller’s keys, and never a key byte', async (t) => {
  const api = await makeApi(t);
  const { ciphertext } = await api.call('Encrypt', { key: 'tenants', encryption_context: { tenant: 'acme' } });
  await api.call('Encrypt', { key: 'hidden' }, makeCall(5000));
  const status = await api.call('GetStatus', {}, makeCall(AUDITOR));
  t.like(status, { version: '1.2.3', node_version: process.version, profile: 'production', warnings: ['a warning'] });
  t.true(Number(status.memory.slots_used) > 0);
  t.like(status.upstreams[0], { upstream: 'store', type: 'local', state: 'ok', failures: '0' });
  t.deepEqual(
    status.keys.map(({ key }: { key: string }) => key),
    ['carts', 'orders', 'tenants'],
  );
  const [tenants] = status.keys.slice(-1);
  t.is(tenants.cache_mode, 'session');
  t.is(tenants.counters.encrypt_misses, '1');
  t.like(tenants, { state: 'KEY_STATE_ACTIVE', encrypting_deks: '1', decrypting_deks: '0', deks_in_grace: '0' });
  t.is(status.next_page_token, '');
  t.is(tenants.deks.length, 1);
  t.like(tenants.deks[0], {
    dek_id: ciphertext.toString('hex', 8, 40),
    class: 'encrypting',
    partition: { tenant: 'acme' },
    verified_by: 'authority',
    messages: '1',
    bytes: '0',
    rotation_overdue: false,
    refusal_pending: false,
    in_grace: false,
    archived: false,
  });
  t.true(Number(tenants.deks[0].rotation_in.seconds) > 60_000);
  t.true(Number(status.memory.free) > 0);
  t.true(Math.abs(Number(tenants.deks[0].created_at.seconds) - Date.now() / 1_000) < 60);
});

test('more DEKs than were asked for: the next page has the others', async (t) => {
  const api = await makeApi(t);
  for (const tenant of ['a', 'b', 'c']) {
    await api.call('Encrypt', { key: 'tenants', encryption_context: { tenant } });
  }
  const seen: string[] = [];
  let token = '';
  do {
    const page = await api.call('GetStatus', { max_deks: 2, page_token: token }, makeCall(AUDITOR));
    for (const { partition } of page.keys.at(-1).deks) seen.push(partition.tenant);
    t.is(page.keys.at(-1).encrypting_deks, '3');
    token = page.next_page_token;
  } while (token !== '');
  t.deepEqual(seen.sort(), ['a', 'b', 'c']);
  t.like(await api.failure('GetStatus', { page_token: 'x' }, makeCall(AUDITOR)), { metadata: { field: 'page_token' } });
});

test('a user of keys may not ask', async (t) => {
  const api = await makeApi(t);
  for (const uid of [USER, STRANGER]) {
    t.is((await api.failure('GetStatus', {}, makeCall(uid))).reason, 'POLICY_DENIED');
  }
});

test('upstreams are those of the caller’s keys; a rule of `admin` opens all, and warnings, which name keys and KEKs', async (t) => {
  const api = await makeApi(t);
  const upstreams = [
    { name: 'store', type: 'local', warnings: ['is here'] },
    { name: 'spare', type: 'local', warnings: ['is there'] },
  ];
  Object.defineProperty(api.administration, 'upstreams', { value: upstreams });
  const shown = async (uid: number) => {
    const status = await api.call('GetStatus', {}, makeCall(uid));
    const names = status.upstreams.map(({ upstream }: { upstream: string }) => upstream);
    return [names, status.upstreams.flatMap(({ warnings }: { warnings: string[] }) => warnings), status.warnings];
  };
  Object.defineProperty(api.administration, 'configurationWarnings', { value: ['keys.hidden: hm'] });
  t.deepEqual(await shown(AUDITOR), [['store'], [], ['a warning']]);
  t.deepEqual(await shown(CUSTODIAN), [
    ['store', 'spare'],
    ['is here', 'is there'],
    ['a warning', 'keys.hidden: hm'],
  ]);
});
