import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { packageVersion } from '../../src/cli/version.ts';
import { cleanEnvironment, dekctl, dekd, run, sourcePath, temporaryDirectory } from './run.ts';

const directory = temporaryDirectory(test);
const example = sourcePath('examples/development.yaml');

test.serial('--version and --help', async (t) => {
  t.deepEqual(await dekd(['--version']), { code: 0, stdout: Buffer.from(`${packageVersion()}\n`), stderr: '' });
  t.regex((await dekd(['--help'])).stdout.toString(), /^Usage: dekd \[options\]/);
});

test.serial('--check says ok, for a flag and for DEKD_CONFIG', async (t) => {
  const ok = { code: 0, stdout: Buffer.from(`${example}: ok, 1 key, 1 upstream, profile development\n`), stderr: '' };
  t.deepEqual(await dekd(['--config', example, '--check']), ok);
  t.deepEqual(await dekd(['--check'], { env: { DEKD_CONFIG: example } }), ok);
});

test.serial('--check notes what a configuration may say and hardly means', async (t) => {
  const file = join(directory, 'expired.yaml');
  const keks =
    '{ type: local, directory: d, root_key: { development: true }, keks: { k: { expires: 2020-01-01T00:00:00Z } } }';
  writeFileSync(
    file,
    `profile: development\nlisten: { agent: { path: a }, admin: { path: b } }\nupstreams:\n  store: ${keks}\n` +
      'keys: { k: { recipients: [{ upstream: store, kek: "local:k", role: authority }], allow: [{ uid: 1, roles: [user], archived: true }] } }\n',
  );
  t.deepEqual(await dekd(['--config', file, '--check']), {
    code: 0,
    stdout: Buffer.from(`${file}: ok, 1 key, 1 upstream, profile development\n`),
    stderr: `dekd: note: ${file}:4:94: upstreams.store.keks.k.expires: has passed: the KEK is archived and decrypts only, for rules with archived: true\n`,
  });
});

test.serial('--check has a line for each thing that is wrong', async (t) => {
  const file = join(directory, 'typo.yaml');
  writeFileSync(
    file,
    'profil: development\nlisten: { agent: { path: a }, admin: { path: b } }\nkeys: {}\nupstreams: x\n',
  );
  const { code, stdout, stderr } = await dekd(['--config', file, '--check']);
  t.is(code, 2);
  t.is(stdout.length, 0);
  t.deepEqual(stderr.trimEnd().split('\n'), [
    `dekd: ${file}:1:1: profile: found nothing, expected production or development`,
    `dekd: ${file}:1:1: profil: unknown field; did you mean profile?`,
    `dekd: ${file}:3:7: keys: found an empty map, expected a map from names to keys`,
    `dekd: ${file}:4:12: upstreams: found "x", expected a map from names to upstreams`,
  ]);
});

const KEY_ID = '1234abcd-12ab-34cd-56ef-1234567890ab';
const ASKED = `profile: development
listen: { agent: { path: a }, admin: { path: b } }
upstreams:
  aws: { type: aws-kms }
  vault: { type: vault-transit, addresses: ["https://vault.invalid:8200"], namespace: team-a, login: { token: { file: /nowhere } } }
  hsm: { type: pkcs11, module_path: /nowhere.so, pin: { file: /nowhere } }
keys:
  orders:
    recipients:
      - { upstream: aws, kek: "aws-kms:arn:aws:kms:eu-west-1:111122223333:key/${KEY_ID}", role: authority }
      - { upstream: vault, kek: "vault-transit:team-a/transit/keys/orders", role: standby }
    decrypt_with: [ { upstream: hsm, kek: "pkcs11:object=orders;token=hsm-a" } ]
    allow: [ { uid: 1, roles: [user] } ]
`;

test.serial('--check finds what is wrong with references of KEKs, and asks no service', async (t) => {
  const file = join(directory, 'keks.yaml');
  const check = async (text: string, ...args: string[]) => {
    writeFileSync(file, text);
    const { code, stderr } = await dekd(['--config', file, ...args]);
    const lines = stderr.trimEnd().split('\n');
    return { code, lines: lines.map((line) => line.replace(`dekd: ${file}:`, '')) };
  };
  t.deepEqual(await check(ASKED, '--check'), { code: 0, lines: [''] });
  const wrong = ASKED.replace(/aws-kms:arn\S+(?=",)/, 'aws-kms:alias/orders')
    .replace('team-a/transit', 'transit')
    .replace(';token=hsm-a', '');
  t.deepEqual(await check(wrong, '--check'), {
    code: 2,
    lines: [
      '10:31: keys.orders.recipients[0].kek: "aws-kms:alias/orders" is an alias, which may mean another key tomorrow; write the key ARN that it means: aws kms describe-key --key-id alias/orders --query KeyMetadata.Arn',
      '11:33: keys.orders.recipients[1].kek: vault-transit:transit/keys/orders lies outside namespace team-a of its upstream; did you mean vault-transit:team-a/transit/keys/orders?',
      '12:43: keys.orders.decrypt_with[0].kek: "pkcs11:object=orders" has no token; add ;token=LABEL, or list the labels in `tokens` of the upstream',
    ],
  });
  // The start says the same of what it need not ask about, before it starts anything.
  const unasked = ASKED.replace('111122223333', '1111-2222-3333');
  const found = await check(unasked, '--check');
  t.regex(found.lines.join('\n'), /^10:31: .* it has no account of 12 digits after the region; write aws-kms:arn:/);
  t.deepEqual(await check(unasked), found);
  t.is(found.code, 2);
});

test.serial('--check looks at the file of revocations too, where there is one', async (t) => {
  const file = join(directory, 'revoking.yaml');
  const revocations = join(directory, 'revocations.yaml');
  writeFileSync(file, `${readFileSync(example, 'utf8')}\nrevocations: ${revocations}\n`);
  const check = async (text?: string) => {
    if (text !== undefined) writeFileSync(revocations, text);
    const { code, stderr } = await dekd(['--config', file, '--check']);
    return `${code} ${stderr.trimEnd()}`;
  };
  t.is(await check(), `0 dekd: note: ${revocations}: no such file here; dekd does not start without it`);
  t.is(await check('revoked: []'), '0 ');
  t.is(
    await check('revoked: [{ key: x }]'),
    `0 dekd: note: ${revocations}:1:18: revoked[0].key: no key is called x, so nothing is revoked; known: default`,
  );
  t.is(
    await check('revoked: [{ kee: x }]'),
    `2 dekd: ${revocations}:1:11: revoked[0].key: found nothing, expected the name of a key\ndekd: ${revocations}:1:13: revoked[0].kee: unknown field; did you mean key?`,
  );
});

test.serial('--check of a file that is made to be slow ends soon, and says what is wrong', async (t) => {
  const file = join(directory, 'slow.yaml');
  const check = async (text: string) => {
    writeFileSync(file, text);
    const { code, stderr } = await dekd(['--config', file, '--check']);
    return `${code} ${stderr.split('\n')[0]}`;
  };
  t.is(await check('!a '.repeat(100_000)), `2 dekd: ${file}: over 256 KiB; a configuration file is smaller`);
  t.is(await check('!a '.repeat(80_000)), `2 dekd: ${file}:1:4: not YAML: cannot be read from here on`);
  const anchors = Array.from({ length: 10_000 }, (_, index) => `- &a${index} x\n- *a${index}\n`);
  t.regex(await check(anchors.join('')), /^2 dekd: \S+:\d+:\d+: more than 100 aliases$/);
});

const wrong: readonly [string[], number, RegExp][] = [
  [[], 2, /^dekd: no configuration is named; give --config FILE or DEKD_CONFIG, or try dekd out with --development$/],
  [['--config', '/nowhere.yaml'], 2, /^dekd: \/nowhere\.yaml: no such file; name an existing configuration file$/],
  [['--config', 'x', '--development'], 2, /^dekd: --config and --development: give one of the two$/],
  [['--confg', 'x'], 2, /^dekd: unknown option '--confg' \(Did you mean --config\?\); see `dekd --help`$/],
  [['--development', '--state', `/tmp/${'s'.repeat(195)}`], 2, /the path has 211 bytes, a Unix socket's at most 107/],
  [
    ['--development', '--state', '/dev/null/state'],
    1,
    /^dekd: \/dev\/null\/state: a part of the path is not a directory; choose another place with --state DIRECTORY$/,
  ],
];
for (const [args, code, line] of wrong) {
  test.serial(`dekd ${args.join(' ').slice(0, 60)}: one line, exit code ${code}`, async (t) => {
    const result = await dekd(args);
    t.regex(result.stderr.trimEnd(), line);
    t.is(result.stderr.trimEnd().split('\n').length, 1);
    t.is(result.code, code);
  });
}

test.serial('production refuses NODE_OPTIONS and the inspector', async (t) => {
  const config = sourcePath('examples/production.yaml');
  const file = join(directory, 'production.yaml');
  writeFileSync(file, readFileSync(config, 'utf8').replace(', group: app', '').replace(', group: ops', ''));
  const options = await dekd(['--config', file], { env: { NODE_OPTIONS: '--max-old-space-size=200' } });
  t.is(options.code, 1);
  t.regex(options.stderr, /^dekd: the environment variable NODE_OPTIONS may open this process's memory/);
  const report = await run(process.execPath, ['--report-on-signal', sourcePath('src/cli/dekd.ts'), '--config', file]);
  t.is(report.code, 1);
  t.regex(report.stderr, /^dekd: Node's switch --report-on-signal may open/);
});

interface Started {
  readonly child: ChildProcess;
  readonly banner: string;
  readonly ended: Promise<number | null>;
}

/** A development agent in a directory of its own, once its banner is complete. */
async function start(state: string): Promise<Started> {
  const args = [
    '--disable-warning=ExperimentalWarning',
    sourcePath('src/cli/dekd.ts'),
    '--development',
    '--state',
    state,
  ];
  const child = spawn(process.execPath, args, { env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const banner = await new Promise<string>((resolve, reject) => {
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes('Ctrl-C stops it.')) resolve(text);
    });
    void ended.then((code) => reject(new Error(`ended with ${code}: ${stderr}`)));
  });
  return { child, banner, ended };
}

test.serial(
  'development: the banner says where and how; it serves; SIGINT ends it with 0; yesterday still opens',
  async (t) => {
    const state = join(directory, 'state');
    const socket = ['--socket', join(state, 'agent.sock')];
    const first = await start(state);
    t.regex(first.banner, /is ready after \d+ ms: development only, not for real data/);
    t.true(first.banner.includes(join(state, 'agent.sock')));
    t.true(first.banner.includes(join(state, 'admin.sock')));
    const command =
      'echo hello | npx dekctl encrypt --key default --context tenant=acme > c && npx dekctl decrypt --context tenant=acme < c';
    t.true(first.banner.includes(command));
    const context = ['--context', 'tenant=acme'];
    const sealed = await dekctl(['encrypt', '--key', 'default', ...context, ...socket], { input: 'hello\n' });
    t.is(sealed.code, 0, sealed.stderr);
    first.child.kill('SIGINT');
    t.is(await first.ended, 0);

    const second = await start(state);
    const opened = await dekctl(['decrypt', ...context, ...socket], { input: sealed.stdout });
    t.deepEqual(opened, { code: 0, stdout: Buffer.from('hello\n'), stderr: '' });
    // A name that JavaScript has another use for reaches the agent as any other.
    const odd = ['--context', '__proto__=x'];
    const bound = await dekctl(['encrypt', '--key', 'default', ...odd, ...socket], { input: 'odd' });
    t.is((await dekctl(['decrypt', ...odd, ...socket], { input: bound.stdout })).stdout.toString(), 'odd');
    t.is((await dekctl(['decrypt', ...socket], { input: bound.stdout })).code, 5);
    t.is((await dekctl(['decrypt', '--context', '__proto__=y', ...socket], { input: bound.stdout })).code, 5);
    const facts = await dekctl(['inspect', '--json'], { input: sealed.stdout });
    t.is(JSON.parse(facts.stdout.toString()).dek_block.key, 'default');
    // A signal that opens Node's inspector when nobody listens for it.
    second.child.kill('SIGUSR1');
    t.is((await dekctl(['health', ...socket])).stdout.toString(), 'SERVING\n');
    second.child.kill('SIGTERM');
    t.is(await second.ended, 0);
  },
);

test.serial('a second agent on the same state is refused in one line that names the first', async (t) => {
  const state = join(directory, 'twice');
  const first = await start(state);
  const { code, stderr } = await dekd(['--development', '--state', state]);
  // A closed terminal ends it as SIGTERM does.
  first.child.kill('SIGHUP');
  t.is(await first.ended, 0);
  t.false(existsSync(join(state, 'agent.sock')));
  t.is(code, 1);
  const lines = stderr
    .trimEnd()
    .split('\n')
    .filter((line) => line.startsWith('dekd: '));
  t.is(lines.length, 1, stderr);
});

test.serial(
  'a store or socket that stays as it is ends the start with 1, not as a wrong flag or a passing fault',
  async (t) => {
    const state = join(directory, 'damaged');
    const first = await start(state);
    first.child.kill('SIGTERM');
    t.is(await first.ended, 0);
    const keystore = join(state, 'keystore');
    const rootKey = readFileSync(join(keystore, 'root.key'));
    writeFileSync(join(keystore, 'root.key'), Buffer.alloc(32, 7));
    const otherRootKey = await dekd(['--development', '--state', state]);
    t.regex(otherRootKey.stderr, /^dekd: .*this root key \(id [0-9a-f]{16}\) is not the store's/m);
    t.is(otherRootKey.code, 1);
    writeFileSync(join(keystore, 'root.key'), rootKey);
    const database = readFileSync(join(keystore, 'keystore.db'));
    writeFileSync(join(keystore, 'keystore.db'), 'no database');
    t.is((await dekd(['--development', '--state', state])).code, 1);
    writeFileSync(join(keystore, 'keystore.db'), database);
    writeFileSync(join(state, 'agent.sock'), 'in its place');
    const inPlace = await dekd(['--development', '--state', state]);
    t.regex(inPlace.stderr, /^dekd: socket .*agent\.sock: a regular file is in its place/m);
    t.is(inPlace.code, 1);
  },
);

test.serial('a file as --state is called one', async (t) => {
  const file = join(directory, 'state-file');
  writeFileSync(file, '');
  const { code, stderr } = await dekd(['--development', '--state', file]);
  t.is(stderr, `dekd: ${file}: is a file, no directory; choose another place with --state DIRECTORY\n`);
  t.is(code, 1);
});

test.serial('a state directory that cannot be written is one line with the way out', async (t) => {
  const parent = join(directory, 'readonly');
  mkdirSync(parent);
  chmodSync(directory, 0o755);
  chmodSync(parent, 0o555);
  // Root may write everywhere: another user tries then.
  const demote = process.getuid?.() === 0 ? 'process.setgid(12345); process.setuid(12345);' : '';
  const source = `${demote} process.argv = [process.argv[0], 'dekd', '--development', '--state', ${JSON.stringify(join(parent, 'x'))}]; await import(${JSON.stringify(sourcePath('src/cli/dekd.ts'))})`;
  const { code, stderr } = await run(process.execPath, ['--input-type=module', '-e', source]);
  t.is(stderr, `dekd: ${join(parent, 'x')}: permission denied; choose another place with --state DIRECTORY\n`);
  t.is(code, 1);
  t.false(existsSync(join(parent, 'x')));
});
