import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { awsKms } from '../../../src/upstream/aws-kms/options.ts';
import { hiddenPackage, packageDirectories } from '../../../src/upstream/child/packages.ts';
import { pkcs11 } from '../../../src/upstream/pkcs11/options.ts';
import { vaultTransit } from '../../../src/upstream/vault-transit/options.ts';

function world(t: ExecutionContext): { directory: string; beside: string; install: (place: string) => void } {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'dekd-packages-')));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const beside = pathToFileURL(join(directory, 'app', 'node_modules', 'dekd', 'dist', 'options.js')).href;
  const install = (place: string) => {
    mkdirSync(join(directory, place), { recursive: true });
    writeFileSync(join(directory, place, 'package.json'), '{ "name": "softkms", "main": "index.js" }');
    writeFileSync(join(directory, place, 'index.js'), '');
  };
  return { directory, beside, install };
}

interface Manifest {
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta: Readonly<Record<string, { optional?: boolean }>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
}

const own = packageDirectories([], import.meta.url);

test('dekd’s own packages, and no more for what is not installed', (t) => {
  const { beside } = world(t);
  const root = dirname(dirname(dirname(import.meta.dirname)));
  t.deepEqual(own, [root, realpathSync(join(root, 'node_modules'))]);
  t.deepEqual(packageDirectories(['softkms'], beside), own);
});

test('a package that was hoisted above dekd’s is read where Node finds it', (t) => {
  const { directory, beside, install } = world(t);
  install('node_modules/softkms');
  t.deepEqual(packageDirectories(['softkms'], beside), [...own, join(directory, 'node_modules')]);
  install('app/node_modules/softkms');
  t.deepEqual(packageDirectories(['softkms'], beside), [...own, join(directory, 'app', 'node_modules')]);
});

test('links are read at both ends: of node_modules, and of the package', (t) => {
  const { directory, beside, install } = world(t);
  install('shared/node_modules/softkms');
  symlinkSync(join(directory, 'shared', 'node_modules'), join(directory, 'node_modules'));
  const shared = join(directory, 'shared', 'node_modules');
  t.deepEqual(packageDirectories(['softkms'], beside), [...own, join(directory, 'node_modules'), shared]);

  install('workspace/softkms');
  mkdirSync(join(directory, 'app', 'node_modules'), { recursive: true });
  symlinkSync(join(directory, 'workspace', 'softkms'), join(directory, 'app', 'node_modules', 'softkms'));
  const linked = [join(directory, 'app', 'node_modules'), join(directory, 'workspace', 'softkms')];
  t.deepEqual(packageDirectories(['softkms'], beside), [...own, ...linked]);
});

test('what may not be read is told by its place', (t) => {
  const denied = Object.assign(new Error('no'), { code: 'ERR_ACCESS_DENIED', resource: '/a/package.json' });
  t.regex(hiddenPackage(denied)!, /may not read \(\/a\/package\.json\)$/);
  t.is(hiddenPackage(new Error('no')), undefined);
});

test('who installs dekd gets no vendor’s package: each is an optional peer, in a range', (t) => {
  const manifest = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as Manifest;
  const packages = [awsKms, pkcs11, vaultTransit].flatMap((facts) => facts.packages ?? []);
  t.true(packages.length >= 3);
  t.deepEqual(Object.keys(manifest.peerDependencies).sort(), [...packages].sort());
  for (const name of packages) {
    t.regex(manifest.peerDependencies[name]!, /^\^\d/, name);
    t.true(manifest.peerDependenciesMeta[name]?.optional, name);
    t.false(name in manifest.dependencies || name in manifest.optionalDependencies, name);
  }
});
