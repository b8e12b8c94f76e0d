// What `npm pack` makes is what others install: compiled, complete, and without what only a checkout needs.
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { packageVersion } from '../../src/cli/version.ts';
import { hasBinding } from '../counterparts/softhsm/start.ts';
import { keyConfig, makePlace } from '../helpers/place.ts';
import { test } from '../helpers/serial.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SOURCES = ['bin', 'src', 'native', 'proto', 'docs', 'examples', 'tools'];
const MORE_SOURCES = ['package.json', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'LICENSE'];
const { DEKD_CONFIG, DEKD_SOCKET, DEKD_ADMIN_SOCKET, NODE_OPTIONS, ...environment } = process.env;
const env = { ...environment, PATH: `${dirname(process.execPath)}:${environment['PATH']}` };

function ran(t: ExecutionContext, cwd: string, command: string, args: readonly string[], input: Buffer | string = '') {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, env, input });
  t.is(status, 0, `${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

/** Packs a copy: a dist/ in the checkout itself would be run by its launchers from then on. */
function pack(t: ExecutionContext, directory: string): Packed {
  mkdirSync(directory);
  for (const name of [...SOURCES, ...MORE_SOURCES])
    cpSync(join(ROOT, name), join(directory, name), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  const [packed] = JSON.parse(ran(t, directory, 'npm', ['pack', '--json']).toString()) as Packed[];
  return packed as Packed;
}

test('packed, installed elsewhere, started: a round trip', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-package-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const checkout = join(directory, 'checkout');
  const { filename, files } = pack(t, checkout);
  const paths = files.map(({ path }) => path);
  for (const path of [
    'dist/src/cli/dekd.js',
    'dist/src/upstream/child/main.js',
    'dist/src/upstream/vault-transit/provider.js',
    'native/install.sh',
    'proto/dekd/v1/agent.proto',
    'docs/command-line.md',
    'SECURITY.md',
  ]) {
    t.true(paths.includes(path), path);
  }
  t.deepEqual(
    paths.filter((path) => /^(src|test|benchmarks|native\/build)\/|^tools\/.*(?<!\.py)$|\.map$/.test(path)),
    [],
  );

  const pages = paths.filter((path) => path.endsWith('.md')).map((path) => readFileSync(join(checkout, path), 'utf8'));
  const named = pages.flatMap((page) => page.match(/\btools\/\w+\.py\b/g) ?? []);
  t.true(named.includes('tools/unwrap_pkcs11.py'));
  t.deepEqual(
    named.filter((path) => !paths.includes(path)),
    [],
    'what the pages run is in the package',
  );

  const app = join(directory, 'app');
  mkdirSync(app);
  writeFileSync(join(app, 'package.json'), '{ "name": "app", "private": true }');
  const quiet = ['--prefer-offline', '--no-audit', '--no-fund', '--omit=optional', '--foreground-scripts'];
  ran(t, app, 'npm', ['install', ...quiet, join(checkout, filename)]);
  const commands = join(app, 'node_modules/.bin');
  for (const name of ['dekd', 'dekctl']) {
    t.is(ran(t, app, join(commands, name), ['--version']).toString(), `${packageVersion()}\n`);
  }

  const agent = spawn(join(commands, 'dekd'), ['--development'], {
    cwd: app,
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.teardown(() => agent.kill('SIGKILL'));
  const ended = new Promise((resolve) => agent.once('close', resolve));
  await Promise.race([new Promise((resolve) => agent.stdout.once('data', resolve)), ended]);
  const ciphertext = ran(t, app, join(commands, 'dekctl'), ['encrypt', '--key', 'default'], 'installed');
  t.is(ran(t, app, join(commands, 'dekctl'), ['decrypt'], ciphertext).toString(), 'installed');
  agent.kill('SIGTERM');
  t.is(await ended, 0);

  // As in a workspace: vendors' packages above the application's own.
  const vendors = [aws, ...(hasBinding ? [hsm] : [])];
  for (const { upstream, kek, missing } of vendors) t.regex(refusal(t, commands, { upstream, kek }), missing);
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  for (const { upstream, kek, loaded } of vendors) t.regex(refusal(t, commands, { upstream, kek }), loaded);
});

const aws = {
  upstream: { type: 'aws-kms' },
  kek: 'aws-kms:alias/orders',
  missing: /upstream vendor: type aws-kms needs the AWS SDK, which is not installed beside dekd: npm install @aws-sdk/,
  loaded: /upstream vendor: KEK aws-kms:alias\/orders is an alias/,
};

const hsm = {
  upstream: { type: 'pkcs11', module_path: '/nowhere/hsm.so' },
  kek: 'pkcs11:object=orders;token=hsm-a',
  missing: /upstream vendor: the package pkcs11js is not there/,
  loaded: /upstream vendor: module_path \/nowhere\/hsm\.so is not a PKCS#11 library that loads/,
};

/** Why the installed dekd does not start with this upstream: a line on standard error. */
function refusal(t: ExecutionContext, commands: string, { upstream, kek }: { upstream: object; kek: string }): string {
  const place = makePlace(t);
  const pin = join(place.directory, 'pin');
  writeFileSync(pin, '1234', { mode: 0o600 });
  const recipients = [{ upstream: 'vendor', kek, role: 'authority' }];
  place.configure({
    upstreams: { vendor: { ...upstream, ...('module_path' in upstream && { pin: { file: pin } }) } },
    keys: { orders: keyConfig('orders', { recipients }) },
  });
  // One that starts all the same is ended.
  const options = { cwd: place.directory, env, encoding: 'utf8', timeout: 30_000 } as const;
  const { status, stderr } = spawnSync(join(commands, 'dekd'), ['--config', place.configFile], options);
  t.is(status, 1, stderr);
  return stderr;
}
