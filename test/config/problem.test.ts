import test from 'ava';
import { parseConfig } from '../../src/config/load.ts';
import { BASE, place } from './example.ts';

const { groupFile, errorOf } = place(test);

// Replacement of a piece of BASE → the whole error.
const LONG_PATH = `/${'a'.repeat(199)}`;
const table: readonly [find: string, replacement: string, ...lines: string[]][] = [
  [
    'ttl: 5m',
    'ttl: 5 parsecs',
    'F:14:34: keys.orders.cache.ttl: found "5 parsecs", expected a duration such as 30s, 5m or 24h',
  ],
  ['ttl: 5m', 'ttl: 300', 'F:14:34: keys.orders.cache.ttl: found 300, expected a duration such as 30s, 5m or 24h'],
  ['ttl: 5m', 'ttl:', 'F:14:33: keys.orders.cache.ttl: found nothing, expected a duration such as 30s, 5m or 24h'],
  ['ttl: 5m', 'ttl: 500ms', 'F:14:34: keys.orders.cache.ttl: found "500ms", expected a duration from 1s to 1d'],
  [
    'ttl: 5m, grace: 1h, rotate_after: 24h',
    'ttl: 2h, rotate_after: 1h',
    'F:14:34: keys.orders.cache.ttl: 2h is longer than rotate_after (1h)',
  ],
  ['grace: 1h', 'grace: 25h', 'F:14:45: keys.orders.cache.grace: found "25h", expected a duration from 0ms to 1d'],
  [
    'mode: session',
    'mode: startup',
    'F:14:45: keys.orders.cache.grace: mode startup has no bound on grace; leave the field out',
  ],
  [
    'mode: session',
    'mode: sesion',
    'F:14:20: keys.orders.cache.mode: found "sesion", expected none, request, session or startup',
  ],
  [
    'mode: session',
    'refresh: renew, verify_wrap: true',
    'F:14:43: keys.orders.cache.verify_wrap: refresh: renew is for agents without the right to decrypt, which cannot verify; leave the field out',
  ],
  ['ttl: 5m', 'tll: 5m', 'F:14:29: keys.orders.cache.tll: unknown field; did you mean ttl?'],
  ['max_deks', 'maxDeks', 'F:14:111: keys.orders.cache.maxDeks: unknown field; did you mean max_deks?'],
  [
    'suite',
    'cipher',
    'F:12:5: keys.orders.cipher: unknown field; known here: recipients, decrypt_with, wrap, suite, partition_by, dek_scope, cache, allow',
  ],
  [
    'message: 4MiB',
    'upstream_calls: { per_uid: {} }',
    'F:6:29: limits.upstream_calls.per_uid: unknown field; known here: per_principal, per_key',
  ],
  [
    'message: 4MiB',
    'upstream_calls: { per_key: { rate: 0 } }',
    'F:6:46: limits.upstream_calls.per_key.rate: found 0, expected a whole number from 1 to 1000000',
  ],
  ['suite: XAES_256_GCM', 'wrap: one', 'F:12:11: keys.orders.wrap: found "one", expected all or any'],
  ['limits:', 'limit:', 'F:6:1: limit: unknown field; did you mean limits?'],
  ['limits: {', 'limits: { <<: {},', 'F:6:11: limits["<<"]: unknown field; known here: message, upstream_calls'],
  ['"0660"', '0660', 'F:3:46: listen.agent.mode: found 0660, expected an octal mode in quotes, such as "0660"'],
  ['"0660"', '"0980"', 'F:3:46: listen.agent.mode: found "0980", expected an octal mode such as "0660"'],
  [
    'group: app',
    'group: apq',
    'F:3:61: listen.agent.group: no group is called apq on this machine; create it, or give its number',
  ],
  [
    'group: app',
    'group: odd',
    'F:3:61: listen.agent.group: no group is called odd on this machine; create it, or give its number',
  ],
  [
    'group: app',
    'group: [app]',
    'F:3:61: listen.agent.group: found a list of 1, expected the name or number of a group',
  ],
  [
    '/run/dekd/agent.sock',
    LONG_PATH,
    "F:3:18: listen.agent.path: the path has 200 bytes, a Unix socket's at most 107; choose a shorter directory, such as /run/dekd",
  ],
  [
    '/run/dekd/agent.sock',
    'agent.sock',
    'F:3:18: listen.agent.path: a relative path; production needs an absolute one',
  ],
  [
    '/run/dekd/agent.sock',
    '/run/dekd/x/../admin.sock',
    'F:4:18: listen.admin.path: must differ from listen.agent.path',
  ],
  ['/run/dekd/agent.sock', '"/run\\0x"', 'F:3:18: listen.agent.path: found "/run\\u0000x", expected a path'],
  ['size: 8MiB', 'size: 8MB', 'F:5:33: memory.size: found "8MB", expected a size such as 8MiB or 1TiB'],
  ['size: 8MiB', 'size: 0', 'F:5:33: memory.size: found 0, expected a size from 4KiB to 256MiB'],
  ['message: 4MiB', 'message: 5MiB', 'F:6:20: limits.message: found "5MiB", expected a size from 256KiB to 4MiB'],
  ['lock: required', 'lock: yes', 'F:5:17: memory.lock: found "yes", expected required or best-effort'],
  [
    'type: local',
    'type: gcp-kms, region: eu-central-1',
    'F:8:18: upstreams.store.type: found "gcp-kms", expected local, vault-transit, aws-kms or pkcs11 (the other types come in later versions)',
  ],
  [
    'type: local',
    'type: redis',
    'F:8:18: upstreams.store.type: found "redis", expected local, vault-transit, aws-kms or pkcs11',
  ],
  [
    'root_key: { file: /run/secrets/root.key }',
    'root_key: { development: true }',
    'F:8:70: upstreams.store.root_key: a development root key lies beside the keys that it protects; production needs file, credential or passphrase',
  ],
  [
    'root_key: { file: /run/secrets/root.key }, durable: true',
    'durable: true',
    'F:8:10: upstreams.store.root_key: found nothing, expected { file: PATH }, { credential: NAME }, { passphrase: { file: PATH } }, { passphrase: { credential: NAME } } or, in the development profile, { development: true }',
  ],
  [
    'root_key: { file: /run/secrets/root.key }',
    'root_key: {}',
    'F:8:70: upstreams.store.root_key: found an empty map, expected { file: PATH }, { credential: NAME }, { passphrase: { file: PATH } }, { passphrase: { credential: NAME } } or, in the development profile, { development: true }',
  ],
  [
    '{ file: /run/secrets/root.key }',
    '{ file: /run/secrets/root.key, credential: root-key }',
    'F:8:70: upstreams.store.root_key: two are set, file and credential; keep one',
  ],
  [
    '{ file: /run/secrets/root.key }',
    '{ file: /r, development: true, passphrase: { file: /p } }',
    'F:8:70: upstreams.store.root_key: 3 are set, file, passphrase and development; keep one',
  ],
  [
    'durable: true',
    'durable: false',
    'F:11:17: keys.orders.recipients: its only authority is a keystore that may die with its volume, and all its ciphertexts with it; say durable: true at the upstream if the directory outlives the pod',
  ],
  [
    'durable: true }',
    'durable: true }\n  twin: { type: local, directory: /var/lib/dekd/../dekd/keystore, root_key: { file: /k } }',
    'F:9:35: upstreams.twin.directory: the same directory as upstream store',
  ],
  [
    'upstream: store',
    'upstream: stor',
    'F:11:31: keys.orders.recipients[0].upstream: no upstream is called stor; known: store',
  ],
  [
    'upstream: store',
    'upstream: constructor',
    'F:11:31: keys.orders.recipients[0].upstream: no upstream is called constructor; known: store',
  ],
  [
    'local:orders',
    'aws-kms:arn',
    'F:11:43: keys.orders.recipients[0].kek: a KEK of type aws-kms, and upstream store is of type local',
  ],
  [
    'local:orders',
    'gcp-kms:orders',
    'F:11:43: keys.orders.recipients[0].kek: found "gcp-kms:orders", expected a KEK such as local:orders, vault-transit:transit/keys/orders, aws-kms:arn:aws:kms:REGION:ACCOUNT:key/ID or pkcs11:object=orders;token=hsm-a',
  ],
  [
    'role: authority',
    'role: standby',
    'F:11:17: keys.orders.recipients: no recipient has role authority; at least one must',
  ],
  [
    'role: authority }',
    'role: authority }, { upstream: store, kek: "local:orders", role: standby }',
    'F:11:102: keys.orders.recipients[1].kek: the same KEK twice in one key',
  ],
  [
    'role: authority }',
    'role: authority }, { upstream: store, kek: "local:0123456789abcdef/orders", role: standby }',
    'F:11:102: keys.orders.recipients[1].kek: the same KEK twice in one key',
  ],
  [
    'role: authority } ]',
    'role: authority } ]\n    decrypt_with: [ { upstream: store, kek: "local:orders" } ]',
    'F:12:45: keys.orders.decrypt_with[0].kek: the same KEK twice in one key',
  ],
  [
    'role: authority } ]',
    'role: authority } ]\n    dek_scope: shared',
    'F:12:16: keys.orders.dek_scope: found "shared", expected agent (shared comes in a later version)',
  ],
  [
    'recipients: [ { upstream: store, kek: "local:orders", role: authority } ]',
    'recipients: { store: authority }',
    'F:11:17: keys.orders.recipients: found a map, expected a list of at least one { upstream, kek, role }',
  ],
  ['XAES_256_GCM', 'XChaCha20', 'F:12:12: keys.orders.suite: found "XChaCha20", expected XAES_256_GCM or AES_256_GCM'],
  [
    'suite: XAES_256_GCM\n    partition_by: [tenant]\n    cache: { mode: session, ttl: 5m, grace: 1h, rotate_after: 24h, max_messages: 1000000000',
    'suite: AES_256_GCM\n    cache: { max_messages: 4294967297',
    'F:13:28: keys.orders.cache.max_messages: AES_256_GCM allows at most 4294967296 messages a DEK (2^32, NIST SP 800-38D)',
  ],
  ['[tenant]', '[tenant, table, tenant]', 'F:13:35: keys.orders.partition_by[2]: stands in the list twice'],
  [
    '[tenant]',
    '["dekd:key"]',
    'F:13:20: keys.orders.partition_by[0]: found "dekd:key", expected the name of a context entry, 1 to 256 bytes, without the prefixes dekd: and aws:',
  ],
  [
    '  orders:',
    '  "-orders":',
    'F:10:3: keys.-orders: found "-orders", expected a name of 1 to 128 characters of A-Z a-z 0-9 . _ - that starts with a letter or digit',
  ],
  [
    '  orders:',
    '  "a.b": {}\n  orders:',
    'F:10:10: keys["a.b"].recipients: found nothing, expected a list of at least one { upstream, kek, role }',
    'F:10:10: keys["a.b"].allow: found nothing, expected a list of at least one { uid or gid, roles }',
  ],
  [
    'uid: 1000',
    'pid: 1000',
    'F:15:16: keys.orders.allow[0].pid: rules on pid are refused: a pid is 0 across the containers of a pod; name a uid or gid',
  ],
  [
    'uid: 2001',
    'pid: 7, uid: 2001',
    'F:16:12: admin[0].pid: rules on pid are refused: a pid is 0 across the containers of a pod; name a uid or gid',
  ],
  [
    'uid: 1000',
    'uid: 65534',
    'F:15:21: keys.orders.allow[0].uid: found 65534, expected a user number from 0 to 4294967294 other than 65534 (it may be anybody)',
  ],
  [
    'uid: 1000',
    'gid: 65534',
    'F:15:21: keys.orders.allow[0].gid: found 65534, expected a group number from 0 to 4294967294 other than 65534 (it may be anybody)',
  ],
  [
    'uid: 1000',
    'uid: app',
    'F:15:21: keys.orders.allow[0].uid: found "app", expected a user number from 0 to 4294967294 other than 65534 (it may be anybody)',
  ],
  [
    'uid: 1000',
    'uid: 1000, gid: 1000',
    'F:15:14: keys.orders.allow[0]: found a map, expected exactly one of uid and gid',
  ],
  [
    'roles: [user]',
    'roles: []',
    'F:15:34: keys.orders.allow[0].roles: found an empty list, expected a list of at least one role',
  ],
  [
    'roles: [user]',
    'roles: [usr]',
    'F:15:35: keys.orders.allow[0].roles[0]: found "usr", expected user, operator, custodian or auditor',
  ],
  [
    'roles: [operator]',
    'roles: [operator], rpcs: [Encrypt]',
    'F:15:82: keys.orders.allow[1].rpcs: narrows role user, which this rule does not give',
  ],
  [
    'roles: [custodian]',
    'roles: [user]',
    'F:16:31: admin[0].roles[0]: found "user", expected operator, custodian or auditor',
  ],
  [
    'roles: [user]',
    'roles: [user, operator]',
    'F:15:34: keys.orders.allow[0].roles: uid 1000 holds user and operator on one key; production wants different people (nobody creates and uses, or rotates and destroys)',
  ],
  [
    'uid: 2000',
    'uid: 1000',
    'F:15:64: keys.orders.allow[1].roles: uid 1000 holds user and operator on one key; production wants different people (nobody creates and uses, or rotates and destroys)',
  ],
  [
    '[operator]',
    '[custodian, operator]',
    'F:15:64: keys.orders.allow[1].roles: uid 2000 holds operator and custodian on one key; production wants different people (nobody creates and uses, or rotates and destroys)',
  ],
  [
    'uid: 2001',
    'uid: 1000',
    'F:15:34: keys.orders.allow[0].roles: uid 1000 uses this key and is custodian in admin; production wants different people (nobody creates and uses)',
  ],
  ['profile: production', '', 'F:2:1: profile: found nothing, expected production or development'],
  ['profile: production', 'profile: prod', 'F:1:10: profile: found "prod", expected production or development'],
  [
    'profile: production',
    'profile: "\\e[31m\\u202e\\n"',
    'F:1:10: profile: found "\\u001b[31m\\u{202e}\\n", expected production or development',
  ],
  [
    'profile: production',
    `profile: ${'x'.repeat(50)}`,
    `F:1:10: profile: found "${'x'.repeat(40)}…", expected production or development`,
  ],
  ['limits:', 'memory: {}\nlimits:', 'F:6:1: this field stands twice in one map'],
  ['limits:', '\tlimits:', 'F:6:1: found a tab, expected spaces: YAML does not indent with tabs'],
  ['ttl: 5m', 'ttl: !!str 5m', 'F:14:40: found a YAML tag, expected a plain value'],
  ['limits:', '5: x\nlimits:', 'F:6:1: found a field whose name is not text, expected a name (in quotes)'],
  ['limits:', '__proto__: { profile: development }\nlimits:', 'F:6:1: __proto__: unknown field'],
  ['{ message: 4MiB }', '*nowhere', 'F:6:9: an alias of an anchor that is not there'],
  // All of it at once, in the order of the file.
  [
    'cache: { mode: session, ttl: 5m',
    'cach: {}\n    cache: { mode: x, ttl: 5',
    'F:14:5: keys.orders.cach: unknown field; did you mean cache?',
    'F:15:20: keys.orders.cache.mode: found "x", expected none, request, session or startup',
    'F:15:28: keys.orders.cache.ttl: found 5, expected a duration such as 30s, 5m or 24h',
  ],
];
for (const [index, [find, replacement, ...lines]] of table.entries()) {
  test(`error ${index}: ${replacement.slice(0, 60).replaceAll('\n', ' ')}`, (t) => {
    t.true(BASE.includes(find), 'the table names a piece of the base');
    t.is(errorOf(BASE.replace(find, () => replacement)), lines.join('\n'));
  });
}

const whole: readonly [name: string, text: string, line: RegExp][] = [
  ['an empty file', '', /^F:1:1: found an empty file, expected a map with profile, listen, upstreams and keys$/],
  ['only a comment', '# nothing\n', /^F:1:1: found an empty file, expected a map/],
  ['a list', '- a\n', /^F:1:1: found a list of 1, expected a map with profile/],
  ['a word', 'hello', /^F:1:1: found "hello", expected a map with profile/],
  ['two documents', `${BASE}---\n${BASE}`, /^F:17:1: found a second YAML document, expected one$/],
  ['100,000 open brackets', '['.repeat(100_000), /^F:1:\d+: not a configuration: nested too deeply$/],
  ['100,000 nested lists', '- '.repeat(100_000), /^F:1:\d+: not a configuration: nested too deeply$/],
  [
    'an alias bomb',
    `a: &a [${'x,'.repeat(9)}x]\nb: &b [${'*a,'.repeat(9)}*a]\nc: &c [${'*b,'.repeat(9)}*b]\nd: [${'*c,'.repeat(9)}*c]\n`,
    /^F:1:1: more than 100 aliases/,
  ],
];
for (const [name, text, line] of whole) {
  test(`${name} is refused in one line`, (t) => {
    t.regex(errorOf(text), line);
    t.false(errorOf(text).includes('\n'));
  });
}

test('an alias may repeat a list of rules, and errors inside point at what it stands for', (t) => {
  const shared = BASE.replace('allow: [', 'allow: &rules [').replace(
    '\nadmin:',
    '\n  more: { recipients: [ { upstream: store, kek: "local:more", role: authority } ], allow: *rules }\nadmin:',
  );
  const config = parseConfig(shared, 'F', { groupFile });
  t.deepEqual(config.keys.get('more')?.allow, config.keys.get('orders')?.allow);
  t.regex(errorOf(shared.replace('[user]', '[usr]')), /^F:15:42: keys\.orders\.allow\[0\]\.roles\[0\]: found "usr"/);
});

test('what may be a root key is never shown', (t) => {
  const secret = 'c2VjcmV0IHNlY3JldCBzZWNyZXQ';
  const wrong = [
    `root_key: ${secret}`,
    `root_key: { file: [${secret}] }`,
    `root_key: { value: ${secret} }`,
    `root_key: ["${secret}`,
  ];
  for (const replacement of wrong) {
    const message = errorOf(BASE.replace('root_key: { file: /run/secrets/root.key }', replacement));
    t.false(message.includes('c2Vj'), message);
  }
});
