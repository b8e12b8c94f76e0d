import test from 'ava';
import type { Config, KeyConfig } from '../../src/config/config.ts';
import { type AdministrationParts, DaemonAdministration } from '../../src/daemon/administration.ts';
import type { KekFollower } from '../../src/daemon/kek-follower.ts';
import type { Keks } from '../../src/daemon/key-options.ts';
import { localEdge } from '../../src/daemon/upstream-edges.ts';
import { systemClock } from '../../src/keyring/clock.ts';
import type { Keyring } from '../../src/keyring/keyring.ts';
import type { Upstream } from '../../src/upstream/provider.ts';
import { LifecycleUpstream } from '../fakes/lifecycle-upstream.ts';
import { recordingLogger } from './recording-logger.ts';

const ACME = new Map([['tenant', 'acme']]);
const KEK = { upstreamName: 'store', uri: 'local:a/orders' };

/** An administration over upstreams that remember, keyrings that count, and a log that is kept. */
function administer(profile: 'production' | 'development', ...names: string[]) {
  const upstreams = new Map<string, LifecycleUpstream>(names.map((name) => [name, new LifecycleUpstream('orders')]));
  const order: string[] = [];
  const since: number[] = [];
  const served = new Set<string>();
  const { logger, lines } = recordingLogger();
  const keyrings = {
    byName: (name: string) => (served.has(name) ? {} : undefined),
    add: ({ name }: { name: string }) => {
      order.push(`serve ${name}`);
      served.add(name);
    },
    forgetAnswers: () => void order.push('forget'),
    forgetRefusals: (upstream: string, sinceMs: number) => {
      order.push(`forget refusals ${upstream}`);
      since.push(sinceMs);
    },
    keks: () => [],
    flush: (name: string, partition?: ReadonlyMap<string, string>) => {
      order.push(`flush ${name} ${partition === undefined ? 'all' : [...partition.values()].join()}`);
      return 2;
    },
  };
  const template = { name: 'default', recipients: [], decryptWith: [], allow: [], cache: {} } as unknown as KeyConfig;
  const parts = {
    config: {
      profile,
      warnings: ['keys.orders: hm'],
      keys: new Map([['default', template]]),
      upstreams: new Map(names.map((name) => [name, { type: 'local' }])),
    } as unknown as Config,
    version: '1.2.3',
    warnings: ['memory'],
    upstreams: upstreams as ReadonlyMap<string, Upstream>,
    edges: new Map([...upstreams].map(([name, raw]) => [name, localEdge(raw, systemClock)])),
    keks: { of: () => ({}) } as unknown as Keks,
    keyrings: keyrings as unknown as AdministrationParts['keyrings'],
    policy: { addKey: (name: string) => void order.push(`allow ${name}`) } as unknown as AdministrationParts['policy'],
    follower: {
      changed: (upstream: string, { uri, state }: { uri: string; state: string }) =>
        void order.push(`changed ${upstream} ${uri} ${state}`),
      rotate: (_key: string, _upstream: string, rotate: () => unknown) => rotate(),
    } as unknown as KekFollower,
    logger,
  };
  const keyring = {
    state: 'disabled',
    options: {
      name: 'orders',
      recipients: [{ kek: { ...KEK, upstream: upstreams.get('store') }, role: 'authority' }],
      decryptWith: [],
    },
    purgePartition: () => 1,
    warm: async () => 1,
  } as unknown as Keyring;
  return { administration: new DaemonAdministration(parts), upstreams, order, since, lines, keyring };
}

const target = (keyring: Keyring, kek = '') => ({ keyring, kek });

test('in development a new KEK is a key at once, and hears what it is before the caller does', async (t) => {
  const { administration, order } = administer('development', 'store');
  t.deepEqual(await administration.createKek('fresh', '', new Map(), 'uid 1'), {
    uri: 'local:a/fresh',
    version: '1',
    usable: true,
  });
  t.deepEqual(order, ['forget', 'serve fresh', 'allow fresh', 'changed store local:a/fresh active']);
});

test('in production it is not', async (t) => {
  const { administration, order } = administer('production', 'store');
  t.false((await administration.createKek('fresh', '', new Map(), 'uid 1')).usable);
  t.deepEqual(order, ['forget', 'changed store local:a/fresh active']);
});

test('one of several local upstreams must be named, for KEKs and for backups', async (t) => {
  const { administration, upstreams } = administer('production', 'store', 'spare');
  const field = { message: /^upstream: is empty; choose one of: store, spare$/ };
  await t.throwsAsync(administration.createKek('fresh', '', new Map(), 'uid 1'), field);
  await t.throwsAsync(administration.backup('', 100, 'uid 1'), field);
  await administration.createKek('fresh', 'spare', new Map(), 'uid 1');
  t.deepEqual(upstreams.get('spare')?.calls, ['create local:a/fresh uid 1']);
  t.is((await administration.backup('spare', 100, 'uid 1')).upstream, 'spare');
  await t.throwsAsync(administration.backup('kms', 100, 'uid 1'), {
    message: 'upstream: "kms" is not a local upstream; there is: store, spare',
  });
});

test('a store that is too large for its caller is not sent, and not logged as backed up', async (t) => {
  const { administration, lines } = administer('production', 'store');
  await t.throwsAsync(administration.backup('', 6, 'uid 1'), { message: /has 7 bytes, the caller takes 6;/ });
  t.deepEqual(lines, []);
  t.is(Buffer.from((await administration.backup('', 7, 'uid 1')).store).toString(), 'a store');
  t.like(lines, [{ event: 'keystore_backup', upstream: 'store', bytes: 7, by: 'uid 1' }]);
});

test('two custodians end a key in production, one in development', async (t) => {
  const production = administer('production', 'store');
  t.is((await production.administration.scheduleDeletion(target(production.keyring), 5, 'uid 1')).at, undefined);
  t.is((await production.administration.scheduleDeletion(target(production.keyring), 5, 'uid 2')).at, 1_005);
  t.like(production.lines, [
    { level: 'info', event: 'deletion_requested', key: 'orders', deletionAt: undefined, by: 'uid 1' },
    { level: 'warn', event: 'deletion_scheduled', deletionAt: '1970-01-01T00:00:01.005Z', by: 'uid 2' },
  ]);
  const development = administer('development', 'store');
  t.is((await development.administration.scheduleDeletion(target(development.keyring), 5, 'uid 1')).at, 1_005);
});

test('every change is logged with who asked', async (t) => {
  const { administration, keyring, lines, order } = administer('production', 'store');
  await administration.changeKey(target(keyring), 'disable', 'uid 1');
  await administration.cancelDeletion(target(keyring), 'uid 2');
  t.is(await administration.changePartition(keyring, ACME, 'disable', 'uid 3'), 1);
  await administration.changePartition(keyring, ACME, 'enable', 'uid 3');
  t.is(administration.flush([keyring, keyring], ACME, 'uid 4'), 4);
  administration.flush([keyring], undefined, 'uid 4');
  t.is(await administration.warm(keyring, ACME, 'uid 5'), 1);
  await administration.rotateKeks(keyring, 'uid 6');
  await administration.changeKey(target(keyring, 'local:orders'), 'archive', 'uid 7');
  const tenant = { tenant: 'acme' };
  t.like(lines, [
    { event: 'key_changed', key: 'orders', change: 'disable', state: 'disabled', by: 'uid 1' },
    { event: 'deletion_cancelled', key: 'orders', by: 'uid 2' },
    { event: 'partition_changed', partition: tenant, change: 'disable', purgedDeks: 1, by: 'uid 3' },
    { event: 'partition_changed', partition: tenant, change: 'enable', purgedDeks: 0, by: 'uid 3' },
    { event: 'keyring_flushed', keys: ['orders', 'orders'], partition: tenant, purgedDeks: 4, by: 'uid 4' },
    { event: 'keyring_flushed', keys: ['orders'], partition: undefined, purgedDeks: 2, by: 'uid 4' },
    { event: 'keyring_warmed', key: 'orders', partition: tenant, deks: 1, by: 'uid 5' },
    { event: 'key_rotated', key: 'orders', kek: 'local:a/orders', by: 'uid 6' },
    { event: 'key_changed', key: 'orders', kek: 'local:orders', change: 'archive', by: 'uid 7' },
  ]);
  // An enabled partition's old refusals are forgotten, or it would go on refusing for seconds.
  t.true(order.includes('forget'));
});

test('a change that fails is not logged as done', async (t) => {
  const { administration, keyring, lines, upstreams } = administer('production', 'store');
  upstreams.get('store')?.fail.set('disable', new Error('full'));
  await t.throwsAsync(administration.changeKey(target(keyring), 'disable', 'uid 1'));
  t.deepEqual(lines, []);
});

test('when a drill is over, what was refused since it began is forgotten', (t) => {
  const { administration, order, since } = administer('production', 'store');
  const beganMs = systemClock.bootMs();
  administration.startDrill('store', 'refused', 60_000, 'uid 7');
  const startedMs = systemClock.bootMs();
  t.deepEqual(order, []);
  t.true(administration.stopDrill('store', 'uid 7'));
  t.deepEqual(order, ['forget', 'forget refusals store']);
  t.true(since[0]! >= beganMs && since[0]! <= startedMs);
});

test('keys of earlier runs are served again', async (t) => {
  const { administration, order } = administer('development', 'store');
  await administration.serveStoredKeys();
  t.deepEqual(order, ['serve orders', 'allow orders']);
});

test('what GetStatus shows', (t) => {
  const { administration } = administer('production', 'store');
  t.like(administration, { version: '1.2.3', profile: 'production', custodians: 2 });
  t.deepEqual([administration.warnings, administration.configurationWarnings], [['memory'], ['keys.orders: hm']]);
  t.like(administration.upstreams, [{ name: 'store', type: 'local', warnings: [], breaker: 'closed', childPids: [] }]);
  t.is(administration.upstreams[0]?.drill, undefined);
});
