import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { ADDON, ROOT, runChild } from './child.ts';

const folder = mkdtempSync(join(tmpdir(), 'dekd-build-'));
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

/** A copy of the sources in a package folder of its own. */
function checkout(name: string): string {
  const root = join(folder, name);
  cpSync(join(ROOT, 'native'), join(root, 'native'), { recursive: true, filter: (path) => !path.endsWith('/build') });
  return root;
}

function linkHeaders(nodeModules: string): void {
  mkdirSync(nodeModules, { recursive: true });
  symlinkSync(join(ROOT, 'node_modules', 'node-api-headers'), join(nodeModules, 'node-api-headers'));
}

const install = (root: string, path = process.env['PATH']!) =>
  spawnSync('/bin/sh', [join(root, 'native', 'install.sh')], { encoding: 'utf8', env: { PATH: path } });

test('install.sh builds silently, links the commands, and the second time does nothing', (t) => {
  const root = checkout('source');
  linkHeaders(join(root, 'node_modules'));
  const built = install(root);
  t.deepEqual([built.status, built.stdout, built.stderr], [0, '', '']);
  const addon = join(root, 'native', 'build', 'dekd.node');
  const before = statSync(addon).mtimeMs;
  t.is(readlinkSync(join(root, 'node_modules', '.bin', 'dekctl')), '../../bin/dekctl');
  t.is(install(root).status, 0);
  t.is(statSync(addon).mtimeMs, before);
  t.is(runChild('native.selfTest(); return 1', { addon }).value, 1);
});

test('install.sh finds hoisted headers, and leaves links to npm when dekd is a dependency', (t) => {
  const root = checkout(join('app', 'node_modules', 'dekd'));
  linkHeaders(join(folder, 'app', 'node_modules'));
  t.is(install(root).status, 0);
  t.true(existsSync(join(root, 'native', 'build', 'dekd.node')));
  t.false(existsSync(join(folder, 'app', 'node_modules', '.bin')));
});

test('install.sh takes no headers from beside a checkout, where anybody may have put them', (t) => {
  const root = checkout(join('shared', 'checkout'));
  linkHeaders(join(folder, 'shared'));
  const built = install(root);
  t.is(built.status, 1);
  t.regex(built.stderr, /^dekd: the npm package node-api-headers is missing; run npm ci$/m);
});

test('install.sh names the package that is missing, in one line', (t) => {
  const root = checkout('bare');
  linkHeaders(join(root, 'node_modules'));
  const tools = join(folder, 'tools');
  mkdirSync(tools);
  for (const tool of ['dirname', 'cat'])
    symlinkSync(execFileSync('which', [tool], { encoding: 'utf8' }).trim(), join(tools, tool));
  const noCompiler = install(root, tools);
  t.is(noCompiler.status, 1);
  t.regex(
    noCompiler.stderr,
    /^dekd: no C compiler found; install one \(Debian, Ubuntu: apt-get install build-essential · Alpine: apk add build-base · Fedora: dnf install gcc make\)\n$/,
  );
  writeFileSync(join(tools, 'cc'), '#!/bin/sh\n');
  chmodSync(join(tools, 'cc'), 0o755);
  const noMake = install(root, tools);
  t.is(noMake.status, 1);
  t.regex(noMake.stderr, /^dekd: no make found; install one .*\n$/);
});

test('install.sh compiles pkcs11js in a checkout once, and goes on without where that fails', (t) => {
  const root = checkout('binding');
  linkHeaders(join(root, 'node_modules'));
  const binding = join(root, 'node_modules', 'pkcs11js');
  mkdirSync(binding);
  const tools = join(folder, 'gyp');
  mkdirSync(tools);
  const path = `${tools}:${process.env['PATH']}`;
  const gyp = (script: string) => {
    writeFileSync(join(tools, 'node-gyp'), `#!/bin/sh\n${script}\n`);
    chmodSync(join(tools, 'node-gyp'), 0o755);
  };
  gyp('echo no python3 >&2; exit 1');
  const without = install(root, path);
  t.deepEqual([without.status, without.stdout], [0, '']);
  t.regex(without.stderr, /^dekd: pkcs11js did not compile \(.*\): tests of the upstream pkcs11 are not run\n$/);
  gyp('echo "$@" >> calls; mkdir -p build/Release; : > build/Release/pkcs11.node');
  for (let time = 0; time < 2; time++) {
    const built = install(root, path);
    t.deepEqual([built.status, built.stdout, built.stderr], [0, '', '']);
  }
  t.is(readFileSync(join(binding, 'calls'), 'utf8'), 'rebuild\n');
});

test('install.sh shows what the compiler said when it fails', (t) => {
  const root = checkout('broken');
  linkHeaders(join(root, 'node_modules'));
  writeFileSync(join(root, 'native', 'peer.c'), '#error broken on purpose\n');
  const built = install(root);
  t.is(built.status, 1);
  t.regex(built.stderr, /broken on purpose/);
  t.regex(built.stderr, /dekd: the native addon did not compile/);
});

test("a warning ends the build in CI and with WERROR=1, and no user's `npm ci`; a path may have spaces", (t) => {
  const root = checkout('with a space');
  linkHeaders(join(root, 'node_modules'));
  writeFileSync(
    join(root, 'native', 'peer.c'),
    `${readFileSync(join(root, 'native', 'peer.c'))}\n#warning next compiler\n`,
  );
  const build = (env: Record<string, string>) =>
    spawnSync('/bin/sh', [join(root, 'native', 'install.sh')], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH']!, ...env },
    });
  t.regex(build({ CI: 'true' }).stderr, /next compiler/);
  t.is(build({ CI: 'true' }).status, 1);
  t.is(build({ WERROR: '1' }).status, 1);
  t.deepEqual([build({}).status, build({}).stderr], [0, '']);
});

/* The answers' first bytes, in read-only data or, where the compiler compares eight at a time, in code. */
const answers = {
  'AES-256-GCM': '522dc1f099567d07',
  'XAES-256-GCM': '986ec1832593df54',
  'HMAC-SHA-256': '5bdcc146bf60754e',
  'HKDF-SHA-256': '3cb25f25faacd57a',
  scrypt: '77d6576238657b20',
  'DEK derivation': '4348df81d3f8079c',
};

for (const [primitive, answer] of Object.entries(answers)) {
  test(`the addon does not load when the known answer of ${primitive} does not come out`, (t) => {
    const bytes = Buffer.from(readFileSync(ADDON));
    let changed = 0;
    for (let at = bytes.indexOf(answer, 0, 'hex'); at >= 0; at = bytes.indexOf(answer, at, 'hex')) {
      bytes[at]! ^= 1;
      changed++;
    }
    t.true(changed > 0);
    const addon = join(folder, `${primitive.replace(' ', '-')}.node`);
    writeFileSync(addon, bytes);
    const child = runChild('return 1', { addon });
    t.not(child.status, 0);
    t.regex(child.stderr, new RegExp(`self-test failed: ${primitive}`));
    t.regex(child.stderr, /code: 'ERR_CRYPTO'/);
  });
}

test('limits that no test can wait for: 2^32 messages, 2^32 generations', (t) => {
  const root = checkout('limits');
  linkHeaders(join(root, 'node_modules'));
  execFileSync('make', ['-s', '-C', join(root, 'native'), 'CPPFLAGS=-DMESSAGE_LIMIT=5 -DLAST_GENERATION=3']);
  const child = runChild(
    `native.openArena({ size: 4096, lock: 'best-effort', maxSealed: 0 });
     const none = new Uint8Array(0), out = Buffer.alloc(80);
     const dek = native.createKey('dek'), kek = native.createKey('raw'), other = native.createKey('raw');
     const sealing = (suite, use) => codeOf(() => native.seal(dek, use, suite, none, 0, none, out, 0)) ?? 'sealed';
     const messages = [1, 2, 1, 2, 1, 2].map((use) => sealing(2, use));
     const dataKey = codeOf(() => native.sealDataKey(dek, 2, none, 0, 32, null, out, 0));
     const wraps = Array.from({ length: 6 }, () => codeOf(() => native.wrapKey(kek, 2, dek, none)) ?? 'wrapped');
     const mixed = Array.from({ length: 7 }, () => codeOf(() => native.wrapKey(other, 1, dek, none)) ?? 'wrapped');
     const rest = native.arenaStatus().slots - 3;
     let created = 0;
     for (; codeOf(() => native.freeKey(native.createKey('raw'))) === undefined; created++);
     return { messages, dataKey, xaes: sealing(1, 1), wraps, mixed, lives: created / rest, end: codeOf(() => native.createKey('raw')), used: native.arenaStatus().slotsUsed };`,
    { addon: join(root, 'native', 'build', 'dekd.node') },
  );
  t.deepEqual(child.value, {
    messages: [...Array(5).fill('sealed'), 'ERR_MESSAGE_LIMIT'],
    dataKey: 'ERR_MESSAGE_LIMIT',
    xaes: 'sealed',
    wraps: [...Array(5).fill('wrapped'), 'ERR_MESSAGE_LIMIT'],
    mixed: Array(7).fill('wrapped'),
    lives: 3,
    end: 'ERR_NO_MEMORY',
    used: 3,
  });
  const sealed = runChild(
    `native.openArena({ size: 4096, lock: 'best-effort', maxSealed: 10 });
     const none = new Uint8Array(0), out = Buffer.alloc(80), dek = native.createKey('dek');
     const messages = [2, 2, 1, 2].map((suite) => codeOf(() => native.seal(dek, 1, suite, none, 0, none, out, 0)) ?? 'sealed');
     let created = 0;
     for (; codeOf(() => native.freeKey(native.createKey('dek'))) === undefined; created++);
     return native.sealAsync(dek, 1, 2, none, 0, none, none).then(() => native.sealAsync(dek, 1, 2, none, 0, none, none)).catch((error) => {
       const { sealed, free } = native.arenaStatus();
       return { messages, job: error.code, lives: created / 9, sealed, free };
     });`,
    { addon: join(root, 'native', 'build', 'dekd.node') },
  );
  t.deepEqual(sealed.value, {
    messages: Array(4).fill('sealed'),
    job: 'ERR_MESSAGE_LIMIT',
    lives: 3,
    sealed: 1,
    free: 0,
  });
});
