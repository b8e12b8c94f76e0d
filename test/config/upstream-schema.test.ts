import test from 'ava';
import type { LocalConfig } from '../../src/config/config.ts';
import type { LocalOptions } from '../../src/upstream/local/options.ts';
import { base, type Fields, parse, problemsOf, upstream } from './parse.ts';

function store(changes: Fields): LocalConfig {
  const config = parse(base({ upstreams: { store: upstream(changes) } })).upstreams.get('store');
  if (config?.type !== 'local') throw new Error('no local upstream');
  return config;
}

const problems = (changes: Fields) => problemsOf(base({ upstreams: { store: upstream(changes) } }));

test('what the configuration says of a local upstream is what that upstream takes', (t) => {
  const config: LocalConfig = store({});
  const options: LocalOptions = config;
  t.is(options.type, 'local');
});

const sources: readonly [written: object, meant: LocalConfig['rootKey']][] = [
  [{ file: '/run/root.key' }, { file: '/run/root.key' }],
  [{ credential: 'root.key' }, { credential: 'root.key' }],
  [{ passphrase: { file: '/run/words' } }, { passphrase: { file: '/run/words' } }],
  [{ passphrase: { credential: 'words' } }, { passphrase: { credential: 'words' } }],
];
for (const [written, meant] of sources) {
  test(`root_key: ${JSON.stringify(written)}`, (t) => {
    t.deepEqual(store({ root_key: written }).rootKey, meant);
  });
}

const SOURCES =
  '{ file: PATH }, { credential: NAME }, { passphrase: { file: PATH } }, { passphrase: { credential: NAME } } or, in the development profile, { development: true }';
const wrongSources: readonly [written: unknown, problem: string][] = [
  [{}, `root_key: found an empty map, expected ${SOURCES}`],
  [{ file: '/a', credential: 'b' }, 'root_key: two are set, file and credential; keep one'],
  [{ file: '/a', passphrase: { file: '/b' } }, 'root_key: two are set, file and passphrase; keep one'],
  [{ passphrase: {} }, 'root_key.passphrase: found an empty map, expected { file: PATH } or { credential: NAME }'],
  [{ passphrase: { file: '/a', credential: 'b' } }, 'root_key.passphrase: two are set, file and credential; keep one'],
  [
    { passphrase: 'correct horse battery staple' },
    'root_key.passphrase: found a value that is not shown, expected { file: PATH } or { credential: NAME }',
  ],
  [
    { credential: '../root.key' },
    'root_key.credential: found a value that is not shown, expected the name of a systemd credential, without slashes',
  ],
  [
    { credential: '..' },
    'root_key.credential: found a value that is not shown, expected the name of a systemd credential, without slashes',
  ],
  [{ file: 'root.key' }, 'root_key.file: a relative path; production needs an absolute one'],
  [{ passphrase: { file: 'words' } }, 'root_key.passphrase.file: a relative path; production needs an absolute one'],
  [
    { file: '/var/lib/dekd/root.key' },
    'root_key.file: lies beside the keys that it protects; production needs another directory',
  ],
  [
    { passphrase: { file: '/var/lib/../lib/dekd/words' } },
    'root_key.passphrase.file: lies beside the keys that it protects; production needs another directory',
  ],
  [
    { development: true },
    'root_key: a development root key lies beside the keys that it protects; production needs file, credential or passphrase',
  ],
  [{ development: false }, 'root_key.development: found a value that is not shown, expected true'],
  [{ pasphrase: { file: '/a' } }, 'root_key.pasphrase: unknown field; did you mean passphrase?'],
];
for (const [written, problem] of wrongSources) {
  test(`root_key ${JSON.stringify(written)} is refused`, (t) => {
    t.deepEqual(problems({ root_key: written }), [`upstreams.store.${problem}`]);
  });
}

test('a schedule is of the upstream, and of single KEKs', (t) => {
  const config = store({
    rotate_after: '90d',
    max_versions: 20,
    keks: { orders: { rotate_after: '30d', max_versions: 5, expires: '2027-06-30T00:00:00Z' } },
  });
  t.deepEqual(config.schedule, { rotateAfterMs: 7_776_000_000, maxVersions: 20 });
  const expiresAt = Date.UTC(2027, 5, 30);
  t.deepEqual([...config.keks], [['orders', { rotateAfterMs: 2_592_000_000, maxVersions: 5, expiresAt }]]);
  t.deepEqual([...store({ keks: { orders: { max_versions: 3 } } }).keks], [['orders', { maxVersions: 3 }]]);
  t.throws(() => (config.keks as Map<string, unknown>).clear(), { instanceOf: TypeError });
  t.true(Object.isFrozen(config.keks.get('orders')));
});

const wrongSchedules: readonly [written: Fields, problem: string][] = [
  [{ rotate_after: '3651d' }, 'rotate_after: found "3651d", expected a duration from 1s to 3650d'],
  [
    { rotate_after: '59m' },
    'rotate_after: each rotation leaves a version in the keystore; production needs at least 1h',
  ],
  [{ max_versions: 0 }, 'max_versions: found 0, expected a whole number from 1 to 1000000'],
  [{ keks: {} }, 'keks: found an empty map, expected a map from names of KEKs to their settings'],
  [
    { keks: { orders: { rotate_after: '1s' } } },
    'keks.orders.rotate_after: each rotation leaves a version in the keystore; production needs at least 1h',
  ],
  [
    { keks: { orders: { expires: '2027-06-30' } } },
    'keks.orders.expires: found "2027-06-30", expected a time such as 2027-06-30T00:00:00Z',
  ],
  [{ keks: { ordres: {} } }, 'keks.ordres: no key names the KEK local:ordres of this upstream; did you mean orders?'],
  [
    { keks: { something: {} } },
    'keks.something: no key names the KEK local:something of this upstream; named are: orders',
  ],
  [
    { keks: { 'local:orders': {} } },
    'keks["local:orders"]: found "local:orders", expected a name of 1 to 128 characters of A-Z a-z 0-9 . _ - that starts with a letter or digit',
  ],
];
for (const [written, problem] of wrongSchedules) {
  test(`schedule ${JSON.stringify(written)} is refused`, (t) => {
    t.deepEqual(problems(written), [`upstreams.store.${problem}`]);
  });
}

test('keks may name a retired KEK, and one by its full reference; not one of another upstream', (t) => {
  const other = upstream({ directory: '/var/lib/other', keks: { orders: {} } });
  const keys = {
    orders: {
      recipients: [{ upstream: 'store', kek: 'local:0123456789abcdef/orders', role: 'authority' }],
      decrypt_with: [{ upstream: 'store', kek: 'local:old' }],
      allow: [{ gid: 5, roles: ['custodian'] }],
    },
  };
  t.deepEqual(problemsOf(base({ keys, upstreams: { store: upstream({ keks: { orders: {}, old: {} } }) } })), []);
  t.deepEqual(problemsOf(base({ keys, upstreams: { store: upstream(), other } })), [
    'upstreams.other.keks.orders: no key names the KEK local:orders of this upstream; none of this upstream is named',
  ]);
});

test('an hour between rotations is enough, and a root key next to the directory is not inside it', (t) => {
  t.deepEqual(problems({ rotate_after: '1h', root_key: { file: '/var/lib/dekd.key' } }), []);
});

test('development takes short rotations and a development root key', (t) => {
  const short = upstream({ rotate_after: '1s', root_key: { development: true } });
  t.deepEqual(problemsOf(base({ profile: 'development', upstreams: { store: short } })), []);
});
