// What `npm pack` makes is what others install: compiled, complete, and without what only a checkout needs.
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { packageVersion } from '../../src/cli/version.ts';
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
    paths.filter((path) => /^(src|test|benchmarks|tools|native\/build)\/|\.map$/.test(path)),
    [],
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
});
