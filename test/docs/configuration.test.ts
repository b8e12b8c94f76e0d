import { readFileSync } from 'node:fs';
import test from 'ava';
import { parse as parseYaml } from 'yaml';
import { ADMIN_RPC_ROLES, KEY_RPC_ROLES, type Role } from '../../src/policy/roles.ts';
import { configurationPage, PAGE } from '../../tools/configuration-reference.ts';
import { type Fields, parse } from '../config/parse.ts';

const page = readFileSync(PAGE, 'utf8');

test('the reference is what the generator makes of the schema', (t) => {
  t.is(page, configurationPage(page), 'run: node tools/configuration-reference.ts');
});

// Every field there is, written out by hand, each with a value other than its default.
const socket = (path: string) => ({ path, mode: '0640', group: 0 });
const rule = { uid: 1000, roles: ['user'], rpcs: ['Decrypt'], archived: true };
const kek = { upstream: 'store', kek: 'local:old' };
const EVERYTHING = {
  profile: 'production',
  listen: { agent: socket('/a'), admin: socket('/b') },
  memory: { lock: 'best-effort', size: '1MiB' },
  limits: {
    message: '1MiB',
    upstream_calls: { per_principal: { rate: 5, burst: 6 }, per_key: { rate: 7, burst: 8 } },
  },
  drain: '1s',
  revocations: '/r.yaml',
  log: { level: 'error' },
  upstreams: {
    store: {
      type: 'local',
      directory: '/d',
      root_key: { file: '/k' },
      durable: true,
      rotate_after: '90d',
      max_versions: 20,
      keks: { orders: { rotate_after: '30d', max_versions: 5, expires: '2027-06-30T00:00:00Z' } },
    },
  },
  keys: {
    orders: {
      recipients: [{ upstream: 'store', kek: 'local:orders', role: 'authority' }],
      decrypt_with: [kek],
      wrap: 'any',
      suite: 'AES_256_GCM',
      partition_by: ['tenant'],
      dek_scope: 'agent',
      cache: {
        mode: 'none',
        ttl: '1m',
        grace: '2h',
        rotate_after: '2d',
        max_messages: 5,
        max_bytes: '2MiB',
        max_deks: 5,
        max_partitions: 5,
        refresh: 'verify',
        verify_wrap: false,
      },
      allow: [rule, { gid: 5, roles: ['custodian'] }],
    },
  },
  admin: [
    { uid: 7, roles: ['auditor'] },
    { gid: 7, roles: ['auditor'] },
  ],
};
const VAULT = {
  type: 'vault-transit',
  addresses: ['https://vault.example:8200'],
  namespace: 'team-a',
  ca: '/ca.pem',
  server_name: 'vault.example',
  login: { approle: { role_id_file: '/r', secret_id_file: '/s', mount: 'team/approle' } },
  max_calls: 5,
  idle: '5s',
  warm_child: false,
  memory: '128MiB',
  environment: ['TZ'],
};
const LOGINS = [
  { token: { file: '/t' } },
  { kubernetes: { role: 'agent', mount: 'k8s', token_file: '/j' } },
  { proxy: true },
];

/** On a vault-transit upstream in place of the local one. */
function onVault(changes: Fields = {}): Fields {
  const kek = (name: string) => ({ upstream: 'store', kek: `vault-transit:team-a/transit/keys/${name}` });
  const { orders } = EVERYTHING.keys;
  const recipients = [{ ...kek('orders'), role: 'authority' }];
  const keys = { orders: { ...orders, recipients, decrypt_with: [kek('old')] } };
  return { ...EVERYTHING, upstreams: { store: { ...VAULT, ...changes } }, keys };
}

const PKCS11 = {
  type: 'pkcs11',
  module_path: '/usr/lib/hsm.so',
  pin: { file: '/pin' },
  tokens: ['hsm-a'],
  max_sessions: 8,
  library_parameters: 'x=y',
  origin: 'unproven',
};

/** On a pkcs11 upstream in place of the local one. */
function onPkcs11(changes: Fields = {}): Fields {
  const kek = (name: string) => ({ upstream: 'store', kek: `pkcs11:object=${name};token=hsm-a` });
  const { orders } = EVERYTHING.keys;
  const recipients = [{ ...kek('orders'), role: 'authority' }];
  const keys = { orders: { ...orders, recipients, decrypt_with: [kek('old')] } };
  const child = Object.fromEntries(CHILD_FIELDS.map((name) => [name, VAULT[name]]));
  return { ...EVERYTHING, upstreams: { store: { ...PKCS11, ...child, ...changes } }, keys };
}

const CHILD_FIELDS = ['max_calls', 'idle', 'warm_child', 'memory', 'environment'] as const;

const AWS_KMS = {
  type: 'aws-kms',
  region: 'eu-west-1',
  endpoint: 'https://kms.example',
  role: 'arn:aws:iam::111122223333:role/dekd',
  external_id: 'agent',
  sts_endpoint: 'https://sts.example',
};

/** On an aws-kms upstream in place of the local one. */
function onAwsKms(): Fields {
  const kek = (end: string) => ({
    upstream: 'store',
    kek: `aws-kms:arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-${end}`,
  });
  const { orders } = EVERYTHING.keys;
  const recipients = [{ ...kek('1234567890ab'), role: 'authority' }];
  const keys = { orders: { ...orders, recipients, decrypt_with: [kek('1234567890ac')] } };
  const child = Object.fromEntries(CHILD_FIELDS.map((name) => [name, VAULT[name]]));
  return { ...EVERYTHING, upstreams: { store: { ...AWS_KMS, ...child } }, keys };
}

const ROOT_KEYS = [
  { credential: 'k' },
  { passphrase: { file: '/k' } },
  { passphrase: { credential: 'k' } },
  { development: true },
];

/** NAME for the names that an operator chooses, [] for the items of a list. */
function paths(value: unknown, path: string): string[] {
  if (Array.isArray(value)) {
    return [
      path,
      ...value.filter((item) => typeof item === 'object').flatMap((item) => paths(item, `${path}[]`).slice(1)),
    ];
  }
  if (typeof value !== 'object' || value === null) return [path];
  const named = /(^|\.)(upstreams|keys|keks)$/.test(path);
  const inner = Object.entries(value).flatMap(([name, field]) => {
    if (named) return paths(field, `${path}.NAME`).slice(1);
    return paths(field, path === '' ? name : `${path}.${name}`);
  });
  return [path, ...inner];
}

interface Row {
  readonly path: string;
  readonly leftOut: string;
}

function rows(): Row[] {
  const found = [...page.matchAll(/^\| `([^`]+)` \| (.*) \| (.*) \| (.+) \|$/gm)];
  const reference = found.filter(({ index }) => index > page.indexOf('\n## Reference'));
  // What several types of upstream take stands there once for each.
  const different = new Map(
    reference.map(([, path = '', , leftOut = '']) => [`${path} ${leftOut}`, { path, leftOut }]),
  );
  return [...different.values()];
}

test('every field that can be written stands in the reference, and nothing else', (t) => {
  const { root_key: _, ...store } = EVERYTHING.upstreams.store;
  const configurations: Fields[] = [
    EVERYTHING,
    ...ROOT_KEYS.map((rootKey) => ({
      ...EVERYTHING,
      profile: 'development',
      upstreams: { store: { ...store, root_key: rootKey } },
    })),
    onVault(),
    ...LOGINS.map((login) => onVault({ login })),
    onAwsKms(),
    onPkcs11(),
    onPkcs11({ pin: { credential: 'pin' } }),
  ];
  for (const configuration of configurations) t.notThrows(() => parse(configuration));
  const written = new Set(configurations.flatMap((configuration) => paths(configuration, '')));
  written.delete('');
  t.deepEqual(
    rows()
      .map(({ path }) => path)
      .sort(),
    [...written].sort(),
  );
});

/** The configuration without one field, or with another value there. */
function replaced(value: unknown, [step, ...rest]: readonly string[], put: unknown): unknown {
  if (step === undefined) return put;
  const key = step === 'NAME' || step === '[]' ? Object.keys(value as object)[0] : step;
  const copy: Record<string, unknown> = structuredClone(value) as Record<string, unknown>;
  const next = replaced(copy[key as string], rest, put);
  if (next === undefined) delete copy[key as string];
  else copy[key as string] = next;
  return copy;
}

/** One of those above that has the field. */
function wholeWith(path: string): Fields {
  const all = [EVERYTHING, onVault(), ...LOGINS.map((login) => onVault({ login })), onPkcs11()];
  return all.find((one) => paths(one, '').includes(path)) ?? EVERYTHING;
}

const steps = (path: string) => path.replaceAll('[]', '.[]').split('.');

const fixedDefaults = rows().filter(({ leftOut }) => leftOut.startsWith('`'));

for (const { path, leftOut } of fixedDefaults) {
  test(`left out, ${path} is ${leftOut}`, (t) => {
    const text = /^`([^`]+)`/.exec(leftOut)?.[1] ?? '';
    // Production needs a keystore that is durable.
    const whole = path.endsWith('.durable') ? { ...EVERYTHING, profile: 'development' } : wholeWith(path);
    const config = (put: unknown) => ({ ...parse(replaced(whole, steps(path), put) as Fields), warnings: [] });
    t.deepEqual(config(undefined), config(parseYaml(text)));
    // Of these the other values are for a later version, or contradict what else EVERYTHING says.
    if (text === 'agent' || text === 'verify') return;
    t.notDeepEqual(config(undefined), { ...parse(whole), warnings: [] });
  });
}

test('there are defaults to compare', (t) => {
  t.true(fixedDefaults.length >= 20, String(fixedDefaults.length));
});

/** Rows of a table of people's, under its heading: role → what it may call. */
function roles(heading: string): Map<string, string[]> {
  const table = page.slice(page.indexOf(`\n| ${heading}`)).split('\n\n')[0] ?? '';
  return new Map(
    [...table.matchAll(/^\| `(\w+)` +\| (.*?) *\|$/gm)].map(([, role = '', may = '']) => [
      role,
      may.match(/[A-Z]\w+/g) ?? [],
    ]),
  );
}

function grantedTo(role: Role, table: Readonly<Record<string, readonly Role[]>>): string[] {
  return Object.keys(table).filter((rpc) => table[rpc]?.includes(role));
}

for (const [heading, table] of [
  ['role   ', KEY_RPC_ROLES],
  ['role in `admin`', ADMIN_RPC_ROLES],
] as const) {
  test(`the table "${heading.trim()}" says what the policy does`, (t) => {
    const documented = roles(heading);
    const auditor = documented.get('auditor') ?? [];
    for (const role of new Set(Object.values<readonly Role[]>(table).flat())) {
      const said = documented.get(role) ?? [];
      const all = role === 'operator' || role === 'custodian' ? [...said, ...auditor] : said;
      t.deepEqual([...all].sort(), grantedTo(role, table).sort(), role);
    }
  });
}
