import test from 'ava';
import { agentStatus } from '../../src/api/agent-status.ts';
import type { Parts } from '../../src/api/parts.ts';
import { Counters } from '../../src/keyring/counters.ts';
import { loadProtos } from '../../src/transport/protos.ts';
import { AUDITOR, CUSTODIAN, makeApi, makeCall, STRANGER, USER } from './parts.ts';

const RESPONSE = loadProtos()['dekd.v1.GetStatusResponse'] as unknown as { serialize(message: object): Buffer };

function millis({ seconds, nanos }: { seconds: string; nanos: number }): number {
  return Number(seconds) * 1_000 + nanos / 1e6;
}

test('what the agent holds, of the caller’s keys, and never a key byte', async (t) => {
  const api = await makeApi(t);
  const { ciphertext } = await api.call('Encrypt', { key: 'tenants', encryption_context: { tenant: 'acme' } });
  await api.call('Encrypt', { key: 'hidden' }, makeCall(5000));
  const status = await api.call('GetStatus', {}, makeCall(AUDITOR));
  t.like(status, { version: '1.2.3', node_version: process.version, profile: 'production', warnings: ['a warning'] });
  t.true(Number(status.memory.slots_used) > 0);
  t.like(status.upstreams[0], { upstream: 'store', type: 'local', state: 'ok', failures: '0' });
  t.like(status.upstreams[0], {
    breaker: 'closed',
    last_failure: '',
    last_failure_at: null,
    drill: null,
    child_pids: [],
  });
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
  t.is(Number(status.memory.free_raw), status.memory.slots - status.memory.slots_used);
  const SERVES_MS = 65 * 60_000;
  t.true(Math.abs(millis(tenants.serves_until) - Date.now() - SERVES_MS) < 60_000);
  t.deepEqual(tenants.last_serves_until, tenants.serves_until);
  t.true(Math.abs(millis(tenants.counted_at) - Date.now()) < 60_000);
  t.like(status.keys[0], { key: 'carts', serves_until: null, last_serves_until: null, serves_without_end: false });
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

test('each KEK of a key, in a drill: its role, its state, what failed last and since when', async (t) => {
  const more = {
    both: {
      recipients: [
        { upstream: 'spare', kek: 'local:both', role: 'authority' },
        { upstream: 'store', kek: 'local:both', role: 'standby' },
      ],
      decrypt_with: [{ upstream: 'spare', kek: 'local:retired' }],
      allow: [
        { uid: USER, roles: ['user'] },
        { uid: CUSTODIAN, roles: ['custodian'] },
      ],
      cache: { mode: 'startup' },
    },
  };
  const api = await makeApi(t, 'production', more, {}, ['spare']);
  const custodian = makeCall(CUSTODIAN);
  await api.call('CreateKey', { key: 'both', upstream: 'spare' }, custodian);
  await api.call('Encrypt', { key: 'both' });
  const before = (await api.call('GetStatus', {}, custodian)).keys.find(({ key }: { key: string }) => key === 'both');
  t.like(before, { serves_until: null, last_serves_until: null, serves_without_end: true });
  t.deepEqual(
    before.keks.map(({ upstream, role, state, last_failure }: Record<string, string>) => [
      upstream,
      role,
      state,
      last_failure,
    ]),
    [
      ['spare', 'RECIPIENT_ROLE_AUTHORITY', 'ok', ''],
      ['store', 'RECIPIENT_ROLE_STANDBY', 'ok', ''],
      ['spare', 'RECIPIENT_ROLE_UNSPECIFIED', '', ''],
    ],
  );
  t.regex(before.keks[2].kek, /^local:[0-9a-f]{16}\/retired$/);

  const drill = { upstream: 'spare', duration: { seconds: 60 }, failure_class: 'throttled' };
  const { ends_at: endsAt } = await api.call('StartDrill', drill, custodian);
  api.keyrings.flush('both');
  await api.failure('Encrypt', { key: 'both' });
  const { upstreams, keys } = await api.call('GetStatus', {}, custodian);
  const [store, spare] = upstreams;
  t.like(store, { upstream: 'store', state: 'ok', drill: null, last_failure: '' });
  t.like(spare, { upstream: 'spare', state: 'throttled', last_failure: 'throttled' });
  t.regex(spare.last_failure_message, /^a drill/);
  t.is(spare.drill.failure_class, 'throttled');
  t.true(Math.abs(millis(spare.drill.ends_at) - millis(endsAt)) < 1_000);
  const [authority, standby] = keys.find(({ key }: { key: string }) => key === 'both').keks;
  t.like(authority, { state: 'throttled', last_failure: 'throttled' });
  t.deepEqual(authority.last_failure_at, authority.since);
  t.like(standby, { state: 'ok', last_failure: '', last_failure_at: null });
  const { keks } = await api.call('KeyAdmin/DescribeKey', { key: 'both' }, custodian);
  t.like(keks[0].status, { upstream: 'spare', state: 'throttled', last_failure: 'throttled' });

  await api.call('StopDrill', { upstream: 'spare' }, custodian);
  t.is((await api.call('GetStatus', {}, custodian)).upstreams[1].drill, null);
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
    { name: 'store', type: 'local', warnings: ['is here'], childPids: [] },
    { name: 'spare', type: 'local', warnings: ['is there'], childPids: [] },
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

test('an upstream’s calls and failures are those of KEKs of visible keys; all for a rule of `admin`', async (t) => {
  const api = await makeApi(t);
  await api.call('Encrypt', { key: 'orders' });
  const shown = async (uid: number) => {
    const [store] = (await api.call('GetStatus', {}, makeCall(uid))).upstreams;
    return [store.calls, store.state];
  };
  const seen = await shown(AUDITOR);
  t.deepEqual(await shown(CUSTODIAN), seen);
  await api.call('Encrypt', { key: 'hidden' }, makeCall(5000));
  t.deepEqual(await shown(AUDITOR), seen);
  t.true(Number((await shown(CUSTODIAN))[0]) > Number(seen[0]));
});

test('the file of revocations is shown to whom it may tell of any key', async (t) => {
  const api = await makeApi(t);
  const facts = { file: '/etc/dekd/revocations.yaml', entries: 1, changedAt: 0, sha256: 'ab', lookedAt: 0 };
  Object.defineProperty(api.administration, 'revocations', { value: facts });
  t.is((await api.call('GetStatus', {}, makeCall(AUDITOR))).revocations, null);
  t.like((await api.call('GetStatus', {}, makeCall(CUSTODIAN))).revocations, { entries: 1, sha256: 'ab' });
});

test('with thousands of keys the answer still fits into the 4 MiB that clients take, and its pages go on', (t) => {
  const kek = { upstreamName: 'store', uri: `local:${'x'.repeat(100)}`, health: { state: 'ok', atMs: 0, sinceMs: 0 } };
  const deks = Array.from({ length: 5_000 }, (_, index) => ({
    id: Buffer.alloc(32, index),
    place: 'decrypting',
    partition: new Map([['tenant', 'acme'.repeat(50)]]),
    createdMs: 1,
    loadedAtMs: 0,
    verifiedAtMs: 0,
    verifiedBy: 'authority',
    messages: 0,
    bytes: 0,
    archived: false,
  }));
  const keyring = (name: string, held: readonly object[]) => ({
    options: {
      name,
      recipients: [
        { kek, role: 'authority' },
        { kek, role: 'standby' },
      ],
      decryptWith: [kek],
      cache: { mode: 'session' },
    },
    state: 'active',
    counters: new Counters(),
    encrypting: { size: 0, missingRecipients: () => new Map([[kek, 1_000_000]]) },
    decrypting: { size: held.length },
    all: () => held,
    counts: () => ({ asOfMs: 0, servesUntilMs: 1, lastServesUntilMs: 2 }),
  });
  for (const count of [1, 1_000, 1_900]) {
    const rings = Array.from({ length: count }, (_, index) => keyring(`key-${index}`, index === 0 ? deks : []));
    const parts = {
      policy: {
        mayAdmin: () => true,
        visibleKeys: () => rings.map(({ options }) => options.name),
        administers: () => true,
      },
      keyrings: {
        byName: (name: string) => rings[Number(name.slice(4))],
        keks: () => [],
        refusalPending: () => false,
        inGrace: () => false,
      },
      administration: { memory: () => ({}), upstreams: [], warnings: [], configurationWarnings: [], startedAtMs: 0 },
    } as unknown as Parts;
    const status = agentStatus({ max_deks: 10_000, page_token: '' }, makeCall(), parts);
    const bytes = RESPONSE.serialize(status).length;
    t.true(bytes < 4 * 1024 * 1024, `${count} keys: ${bytes}`);
    t.true(Number((status as { next_page_token: string }).next_page_token) > 50);
  }
});
