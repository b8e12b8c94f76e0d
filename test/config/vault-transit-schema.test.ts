import test from 'ava';
import type { VaultTransitConfig } from '../../src/config/config.ts';
import { type VaultTransitOptions, vaultTransit } from '../../src/upstream/vault-transit/options.ts';
import { base, type Fields, key, parse, problemsOf, RULES, upstream } from './parse.ts';

const TOKEN = { token: { file: '/run/token' } };
const vault = (changes: Fields = {}): Fields => ({
  type: 'vault-transit',
  addresses: ['https://vault.example:8200'],
  login: TOKEN,
  ...changes,
});
const recipients = [{ upstream: 'store', kek: 'vault-transit:transit/keys/orders', role: 'authority' }];
const config = (changes: Fields = {}, more: Fields = {}): Fields =>
  base({ upstreams: { store: vault(changes) }, keys: { orders: key('orders', { recipients }) }, ...more });
const problems = (changes: Fields) => problemsOf(config(changes));

function store(changes: Fields = {}): VaultTransitConfig {
  const found = parse(config(changes)).upstreams.get('store');
  if (found?.type !== 'vault-transit') throw new Error('no vault-transit upstream');
  return found;
}

test('what the configuration says is what the provider takes, with every default', (t) => {
  const options: VaultTransitOptions = store();
  t.deepEqual(options, {
    type: 'vault-transit',
    addresses: ['https://vault.example:8200'],
    login: { method: 'token', file: '/run/token' },
    maxCalls: 1_000,
    idleMs: 60_000,
    warmChild: true,
    memoryMib: 256,
    environment: [],
  });
  t.true(Object.isFrozen(options.login));
  t.deepEqual(JSON.parse(JSON.stringify(options)), options, 'it travels as JSON');
});

test('what is further set', (t) => {
  const changes = {
    namespace: 'a/b',
    ca: '/ca.pem',
    server_name: 'vault',
    max_calls: 7,
    idle: '2s',
    warm_child: false,
    memory: '128MiB',
    environment: ['TZ'],
  };
  const inside = [{ upstream: 'store', kek: 'vault-transit:a/b/transit/keys/orders', role: 'authority' }];
  const found = parse(config(changes, { keys: { orders: key('orders', { recipients: inside }) } })).upstreams.get(
    'store',
  );
  t.like(found, {
    namespace: 'a/b',
    ca: '/ca.pem',
    serverName: 'vault',
    maxCalls: 7,
    idleMs: 2_000,
    warmChild: false,
    memoryMib: 128,
    environment: ['TZ'],
  });
  t.is(vaultTransit.resolve(inside[0]!.kek, found as VaultTransitOptions), inside[0]!.kek);
});

const logins: readonly [written: object, meant: VaultTransitConfig['login']][] = [
  [
    { approle: { role_id_file: '/r', secret_id_file: '/s' } },
    { method: 'approle', roleIdFile: '/r', secretIdFile: '/s', mount: 'approle' },
  ],
  [
    { kubernetes: { role: 'agent' } },
    {
      method: 'kubernetes',
      role: 'agent',
      tokenFile: '/var/run/secrets/kubernetes.io/serviceaccount/token',
      mount: 'kubernetes',
    },
  ],
  [{ proxy: true }, { method: 'proxy' }],
];
for (const [written, meant] of logins) {
  test(`login: ${JSON.stringify(written)}`, (t) => {
    t.deepEqual(store({ login: written }).login, meant);
  });
}

const addresses: readonly [written: string, meant: string][] = [
  ['https://vault.example', 'https://vault.example'],
  ['https://VAULT.example:443/', 'https://vault.example'],
  ['https://[2001:db8::1]:8200', 'https://[2001:db8::1]:8200'],
  ['http://127.0.0.1:8100', 'http://127.0.0.1:8100'],
  ['http://[::1]:8100', 'http://[::1]:8100'],
  ['http://localhost:8100', 'http://localhost:8100'],
  ['unix:/run/vault/agent.sock', 'unix:/run/vault/agent.sock'],
];
for (const [written, meant] of addresses) {
  test(`address ${written}`, (t) => t.deepEqual(store({ addresses: [written] }).addresses, [meant]));
}

const LOGIN =
  '{ token: { file: PATH } }, { approle: { role_id_file: PATH, secret_id_file: PATH } }, { kubernetes: { role: NAME } } or { proxy: true }';
const ADDRESS = 'an address such as https://vault.example:8200 or unix:/run/vault/agent.sock';
const wrong: readonly [changes: Fields, ...problems: string[]][] = [
  [{ login: {} }, `login: found an empty map, expected ${LOGIN}`],
  [{ login: { ...TOKEN, proxy: true } }, 'login: two are set, token and proxy; keep one'],
  [
    { login: { kubernetes: { role: 'a' }, approle: { role_id_file: '/r', secret_id_file: '/s' } } },
    'login: two are set, approle and kubernetes; keep one',
  ],
  [{ login: { token: 's.abcdef' } }, 'login.token: found a value that is not shown, expected { file: PATH }'],
  [{ login: { tokn: {} } }, 'login.tokn: unknown field; did you mean token?'],
  [{ login: { approle: { role_id_file: '/r' } } }, 'login.approle.secret_id_file: found nothing, expected a path'],
  [
    { login: { approle: { role_id_file: 'r', secret_id_file: 's' } } },
    'login.approle.role_id_file: a relative path; production needs an absolute one',
    'login.approle.secret_id_file: a relative path; production needs an absolute one',
  ],
  [
    { login: { kubernetes: { role: 'a', mount: 'auth/../x' } } },
    'login.kubernetes.mount: found a value that is not shown, expected the path of an auth method, without auth/',
  ],
  [{ login: { token: { file: 'token' } } }, 'login.token.file: a relative path; production needs an absolute one'],
  [{ ca: 'ca.pem' }, 'ca: a relative path; production needs an absolute one'],
  [{ addresses: [] }, 'addresses: found an empty list, expected a list of 1 to 8 addresses'],
  [{ addresses: 'https://vault' }, 'addresses: found "https://vault", expected a list of 1 to 8 addresses'],
  [{ addresses: ['https://vault/v1'] }, `addresses[0]: found "https://vault/v1", expected ${ADDRESS}`],
  [{ addresses: ['https://user:word@vault'] }, `addresses[0]: found "https://…@vault", expected ${ADDRESS}`],
  [{ addresses: ['https://vault?x'] }, `addresses[0]: found "https://vault?x", expected ${ADDRESS}`],
  [{ addresses: ['vault:8200'] }, `addresses[0]: found "vault:8200", expected ${ADDRESS}`],
  [{ addresses: ['ftp://vault'] }, `addresses[0]: found "ftp://vault", expected ${ADDRESS}`],
  [{ addresses: ['unix:vault.sock'] }, `addresses[0]: found "unix:vault.sock", expected ${ADDRESS}`],
  [
    { addresses: ['http://vault.example:8200'] },
    'addresses[0]: token and DEKs would cross the network in the clear; production needs https:, loopback or a Unix socket',
  ],
  [
    { addresses: ['http://localhost.example:8200'] },
    'addresses[0]: token and DEKs would cross the network in the clear; production needs https:, loopback or a Unix socket',
  ],
  [{ addresses: ['https://a', 'https://A:443'] }, 'addresses[1]: stands in the list twice'],
  [{ namespace: '/a' }, 'namespace: found "/a", expected a namespace such as team-a or team-a/payments'],
  [{ namespace: 'a/' }, 'namespace: found "a/", expected a namespace such as team-a or team-a/payments'],
  [{ memory: '32MiB' }, 'memory: found "32MiB", expected a size from 64MiB to 4GiB'],
  [{ environment: ['A=B'] }, 'environment[0]: found "A=B", expected the name of an environment variable'],
  [
    { directory: '/var/lib/dekd' },
    'directory: unknown field; known here: type, addresses, namespace, ca, server_name, login, max_calls, idle, warm_child, memory, environment',
  ],
];
for (const [changes, ...expected] of wrong) {
  test(`refused: ${JSON.stringify(changes)}`, (t) => {
    t.deepEqual(
      problems(changes),
      expected.map((problem) => `upstreams.store.${problem}`),
    );
  });
}

test('plain HTTP to another machine is for development', (t) => {
  t.deepEqual(problemsOf(config({ addresses: ['http://vault:8200'] }, { profile: 'development' })), []);
});

test('a KEK of another type than its upstream is refused', (t) => {
  const local = [{ upstream: 'store', kek: 'local:orders', role: 'authority' }];
  t.deepEqual(problemsOf(config({}, { keys: { orders: key('orders', { recipients: local }) } })), [
    'keys.orders.recipients[0].kek: a KEK of type local, and upstream store is of type vault-transit',
  ]);
  t.deepEqual(problemsOf(base({ keys: { orders: key('orders', { recipients }) } })), [
    'keys.orders.recipients[0].kek: a KEK of type vault-transit, and upstream store is of type local',
  ]);
});

test('KEKs of one name in two mounts are two; the same one twice is refused', (t) => {
  const two = [...recipients, { upstream: 'store', kek: 'vault-transit:other/keys/orders', role: 'standby' }];
  t.deepEqual(problemsOf(config({}, { keys: { orders: key('orders', { recipients: two }) } })), []);
  const twice = [...recipients, ...recipients];
  t.deepEqual(problemsOf(config({}, { keys: { orders: key('orders', { recipients: twice }) } })), [
    'keys.orders.recipients[1].kek: the same KEK twice in one key',
  ]);
});

test('beside a local keystore; durability is the service’s', (t) => {
  const both = [...recipients, { upstream: 'local', kek: 'local:orders', role: 'authority' }];
  const upstreams = { store: vault(), local: upstream({ durable: false }) };
  t.deepEqual(problemsOf(base({ upstreams, keys: { orders: { recipients: both, allow: RULES } } })), []);
});
