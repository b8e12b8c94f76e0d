import test from 'ava';
import { parseConfig } from '../../src/config/load.ts';
import { BASE, place } from './example.ts';

const { groupFile } = place(test);

test('the example of the issue is what it says', (t) => {
  const config = parseConfig(BASE, 'F', { groupFile });
  t.is(config.file, 'F');
  t.is(config.profile, 'production');
  t.deepEqual(config.listen, {
    agent: { path: '/run/dekd/agent.sock', mode: 0o660, gid: 4321 },
    admin: { path: '/run/dekd/admin.sock', mode: 0o600, gid: undefined },
  });
  t.deepEqual(config.memory, { lock: 'required', sizeBytes: 8 * 2 ** 20 });
  t.deepEqual(config.upstreams.get('store'), {
    type: 'local',
    directory: '/var/lib/dekd/keystore',
    rootKey: { file: '/run/secrets/root.key' },
    durable: true,
    schedule: { rotateAfterMs: undefined, maxVersions: undefined },
    keks: new Map(),
  });
  t.deepEqual(config.keys.get('orders'), {
    name: 'orders',
    recipients: [{ upstream: 'store', kek: 'local:orders', role: 'authority' }],
    decryptWith: [],
    suite: 1,
    partitionBy: ['tenant'],
    wrap: 'all',
    cache: {
      mode: 'session',
      ttlMs: 300_000,
      graceMs: 3_600_000,
      rotateAfterMs: 86_400_000,
      maxMessages: 1e9,
      maxBytes: 2 ** 40,
      maxDeks: 1000,
      maxPartitions: 1000,
      refresh: 'verify',
      verifyWrap: true,
    },
    allow: [
      { uid: 1000, roles: ['user'] },
      { uid: 2000, roles: ['operator'] },
    ],
  });
  t.deepEqual(config.admin, [{ uid: 2001, roles: ['custodian'] }]);
});

test('what is left out has its default', (t) => {
  const text = `profile: development
listen: { agent: { path: a.sock }, admin: { path: b.sock } }
upstreams: { local: { type: local, directory: d, root_key: { development: true } } }
keys: { k: { recipients: [ { upstream: local, kek: "local:k", role: authority } ], allow: [ { gid: 5, roles: [user] } ] } }
`;
  const config = parseConfig(text, 'F');
  t.is(config.listen.agent.mode, 0o660);
  t.is(config.listen.admin.mode, 0o600);
  t.deepEqual(config.memory, { lock: 'best-effort', sizeBytes: 8 * 2 ** 20 });
  t.deepEqual(config.limits, {
    messageBytes: 4 * 2 ** 20,
    upstreamCalls: { perPrincipal: { perSecond: 100, burst: 1000 }, perKey: { perSecond: 500, burst: 5000 } },
  });
  t.is(config.drainMs, 10_000);
  t.is(config.log.level, 'info');
  t.deepEqual(config.admin, []);
  t.like(config.upstreams.get('local'), { type: 'local', durable: false });
  const spelled = parseConfig(BASE.replace(/ {4}(suite|partition_by).*\n/g, ''), 'F', { groupFile });
  t.deepEqual(config.keys.get('k')?.cache, spelled.keys.get('orders')?.cache);
  t.is(config.keys.get('k')?.suite, 1);
  t.deepEqual(config.keys.get('k')?.partitionBy, []);
});

test('mode startup has no bound on grace, refresh: renew does not verify its wraps', (t) => {
  const cache = (text: string) =>
    parseConfig(BASE.replace(/cache: {.*}/, `cache: { ${text} }`), 'F', { groupFile }).keys.get('orders')?.cache;
  t.is(cache('mode: startup')?.graceMs, Number.POSITIVE_INFINITY);
  t.is(cache('mode: session')?.graceMs, 3_600_000);
  t.false(cache('refresh: renew')?.verifyWrap);
  t.false(cache('verify_wrap: false')?.verifyWrap);
});

test('nothing of a loaded configuration can be changed', (t) => {
  const config = parseConfig(BASE, 'F', { groupFile });
  const throws = (change: () => unknown) => t.throws(change, { instanceOf: TypeError });
  throws(() => Object.assign(config, { profile: 'development' }));
  throws(() => Object.assign(config.listen.agent, { mode: 0o777 }));
  throws(() => (config.keys as Map<string, unknown>).set('x', {}));
  throws(() => (config.keys as Map<string, unknown>).delete('orders'));
  throws(() => (config.upstreams as Map<string, unknown>).clear());
  throws(() => (config.keys.get('orders') as unknown as { allow: unknown[] }).allow.push({}));
  throws(() => Object.assign(config.keys.get('orders')?.cache ?? {}, { ttlMs: 1 }));
});
