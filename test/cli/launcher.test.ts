import { chmodSync, copyFileSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { packageVersion } from '../../src/cli/version.ts';
import { run, sourcePath, temporaryDirectory } from './run.ts';

const directory = temporaryDirectory(test);
const version = Buffer.from(`${packageVersion()}\n`);

function script(path: string, text: string): string {
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

/** A directory for PATH: what the launchers need, and perhaps a `node` that says it is of `nodeVersion`. */
function pathWith(name: string, nodeVersion?: string): string {
  const bin = join(directory, name);
  mkdirSync(bin);
  for (const tool of ['dirname', 'basename', 'readlink', 'uname']) {
    const found = ['/usr/bin', '/bin'].map((place) => join(place, tool)).find(existsSync) as string;
    symlinkSync(found, join(bin, tool));
  }
  if (nodeVersion !== undefined) {
    script(
      join(bin, 'node'),
      `[ "$1" = --version ] && echo v${nodeVersion} && exit\nfor last; do :; done\necho "ran $*"`,
    );
  }
  return bin;
}

/** A package with the launchers and no runtime of its own. */
function bare(name: string): string {
  const root = join(directory, name);
  mkdirSync(join(root, 'bin'), { recursive: true });
  for (const file of ['dekd', 'dekctl', 'runtime.sh']) {
    copyFileSync(sourcePath(`bin/${file}`), join(root, 'bin', file));
  }
  return root;
}

for (const name of ['dekd', 'dekctl']) {
  test.serial(`bin/${name} runs on the pinned Node whatever the PATH has`, async (t) => {
    const env = { PATH: pathWith(`old-${name}`, '20.20.2') };
    t.deepEqual(await run(sourcePath(`bin/${name}`), ['--version'], { env }), { code: 0, stdout: version, stderr: '' });
  });

  test.serial(`bin/${name} is found through symbolic links, relative ones too`, async (t) => {
    const links = join(directory, `links-${name}`);
    mkdirSync(links);
    symlinkSync(sourcePath(`bin/${name}`), join(links, 'first'));
    symlinkSync('first', join(links, 'second'));
    const { stdout } = await run(join(links, 'second'), ['--version'], { cwd: '/' });
    t.deepEqual(stdout, version);
  });

  test.serial(`bin/${name} is found through a link to .bin, and with CDPATH set`, async (t) => {
    const root = bare(`linked-${name}`);
    const commands = join(root, 'node_modules/.bin');
    mkdirSync(commands, { recursive: true });
    symlinkSync(`../../bin/${name}`, join(commands, name));
    symlinkSync(commands, join(directory, `bin-${name}`));
    const env = { PATH: pathWith(`cdpath-${name}`, '24.0.0'), CDPATH: directory };
    const linked = await run(join(directory, `bin-${name}`, name), [], { env });
    t.regex(linked.stdout.toString(), new RegExp(`^ran .* ${root}/src/cli/${name}\\.ts\n$`));
    const relative = await run('/bin/sh', [`bin/${name}`], { env, cwd: root });
    t.is(relative.stdout.toString(), linked.stdout.toString(), relative.stderr);
  });

  test.serial(`bin/${name} without any Node, or with an old one only, says the way out in one line`, async (t) => {
    const root = bare(`bare-${name}`);
    const none = await run(join(root, 'bin', name), ['--version'], { env: { PATH: pathWith(`none-${name}`) } });
    t.is(none.code, 1);
    t.is(
      none.stderr,
      `${name}: no Node 24 or newer was found; run \`npm ci\` in ${root}, which brings one, or install Node 26\n`,
    );
    const old = await run(join(root, 'bin', name), [], { env: { PATH: pathWith(`older-${name}`, '22.14.0') } });
    t.is(old.code, 1);
    t.regex(old.stderr, new RegExp(`^${name}: no Node 24 or newer was found; this machine's is v22\\.14\\.0; run`));
    t.is(old.stderr.trimEnd().split('\n').length, 1);
  });
}

test.serial(
  "the machine's own Node is taken when it is new enough, with the source or, where it is, the compiled program",
  async (t) => {
    const root = bare('own');
    const env = { PATH: pathWith('new', '24.0.0') };
    const source = await run(join(root, 'bin/dekd'), ['--config', 'a b'], { env });
    t.is(
      source.stdout.toString(),
      `ran --disable-warning=ExperimentalWarning --disable-sigusr1 --max-semi-space-size=4 ${root}/src/cli/dekd.ts --config a b\n`,
    );
    mkdirSync(join(root, 'dist/src/cli'), { recursive: true });
    writeFileSync(join(root, 'dist/src/cli/dekctl.js'), '');
    const compiled = await run(join(root, 'bin/dekctl'), [], { env });
    t.is(compiled.stdout.toString(), `ran --disable-warning=ExperimentalWarning ${root}/dist/src/cli/dekctl.js\n`);
  },
);

test.serial(
  'a pinned Node beside the package, where npm hoists it, is taken; one that does not run here is passed over',
  async (t) => {
    const modules = join(directory, 'app/node_modules');
    mkdirSync(modules, { recursive: true });
    const root = bare('app/node_modules/dekd');
    const env = { PATH: pathWith('hoisted', '24.1.0') };
    const uncompiled = await run(join(root, 'bin/dekctl'), [], { env });
    t.is(uncompiled.code, 1);
    t.regex(uncompiled.stderr, /^dekctl: .*\/app\/node_modules\/dekd has no compiled program, .*`npm pack`.*\n$/);
    mkdirSync(join(root, 'dist/src/cli'), { recursive: true });
    writeFileSync(join(root, 'dist/src/cli/dekctl.js'), '');
    for (const arch of ['x64', 'arm64']) {
      mkdirSync(join(modules, `node-linux-${arch}/bin`), { recursive: true });
      script(join(modules, `node-linux-${arch}/bin/node`), 'exit 127');
    }
    t.regex((await run(join(root, 'bin/dekctl'), [], { env })).stdout.toString(), /^ran .*dekctl\.js\n$/);
    for (const arch of ['x64', 'arm64']) {
      script(
        join(modules, `node-linux-${arch}/bin/node`),
        '[ "$1" = --version ] && echo v26.10.0 && exit\necho "pinned $*"',
      );
    }
    t.regex((await run(join(root, 'bin/dekctl'), [], { env })).stdout.toString(), /^pinned .*dekctl\.js\n$/);
  },
);

test.serial('what lies beside a checkout, which anybody may have put there, is not run', async (t) => {
  const root = bare('shared/checkout');
  for (const arch of ['x64', 'arm64']) {
    mkdirSync(join(directory, `shared/node-linux-${arch}/bin`), { recursive: true });
    script(
      join(directory, `shared/node-linux-${arch}/bin/node`),
      '[ "$1" = --version ] && echo v26.10.0 && exit\necho "planted"',
    );
  }
  const env = { PATH: pathWith('not-planted', '24.0.0') };
  for (const name of ['dekd', 'dekctl']) {
    t.regex((await run(join(root, 'bin', name), [], { env })).stdout.toString(), /^ran /);
  }
});

test.serial("the launchers use no shell but POSIX's", async (t) => {
  for (const name of ['dekd', 'dekctl', 'runtime.sh']) {
    t.is((await run('dash', ['-n', sourcePath(`bin/${name}`)])).stderr, '');
  }
});
