import { readdirSync } from 'node:fs';
import test from 'ava';
import { closeKeyChannel, openKeyChannel } from '../../../src/crypto/native.ts';
import type { ProviderFacts } from '../../../src/upstream/child/child-provider.ts';
import { childEnvironment, sibling, spawnChild } from '../../../src/upstream/child/spawn.ts';
import { type SoftwareKmsOptions, softwareKms } from './software-kms/options.ts';

test('a child sees the variables that are named, and no others', (t) => {
  const agents = {
    AWS_PROFILE: 'a',
    HOME: '/root',
    LD_PRELOAD: 'x.so',
    NODE_EXTRA_CA_CERTS: '/ca.pem',
    NODE_OPTIONS: '--inspect',
    PATH: '/bin',
    SOFTHSM2_CONF: '/etc/softhsm2.conf',
    SSL_CERT_FILE: undefined,
  };
  const needed = { environment: ['AWS_PROFILE', 'AWS_REGION'] };
  t.deepEqual(childEnvironment(needed, { environment: ['SOFTHSM2_CONF'] }, agents), {
    AWS_PROFILE: 'a',
    NODE_EXTRA_CA_CERTS: '/ca.pem',
    SOFTHSM2_CONF: '/etc/softhsm2.conf',
  });
});

test('a variable that changes what Node runs is refused', (t) => {
  for (const name of ['NODE_OPTIONS', 'NODE_PATH', 'NODE_COMPILE_CACHE']) {
    t.throws(() => childEnvironment({ environment: [] }, { environment: [name] }, {}), {
      name: 'DekdError',
      message: new RegExp(`^environment: ${name} `),
    });
  }
  t.deepEqual(childEnvironment({ environment: [] }, { environment: ['NODE_EXTRA_CA_CERTS'] }, {}), {});
});

test('a sibling is written as the module is', (t) => {
  t.is(sibling('file:///a/options.ts', 'provider').href, 'file:///a/provider.ts');
  t.is(sibling('file:///dist/a/options.js', 'provider').href, 'file:///dist/a/provider.js');
});

/** Node's switches of a child with these facts; it is ended at once. */
async function switchesOf(facts: ProviderFacts<SoftwareKmsOptions>, memoryMib?: number): Promise<string[]> {
  const { parent, child: other } = openKeyChannel();
  const options = { type: 'vault-transit', ...(memoryMib !== undefined && { memoryMib }) } as const;
  const child = spawnChild(facts, options, { in: parent, out: other });
  const ended = new Promise((resolve) => child.process.once('exit', resolve));
  child.process.kill('SIGKILL');
  for (const fd of [child.keyFd, parent, other]) closeKeyChannel(fd);
  await ended;
  return child.process.spawnargs;
}

test('Node is given the files that a provider reads, its memory, and the network when it needs that', async (t) => {
  const readPaths = () => ['/etc/dekd/ca.pem'];
  const usual = await switchesOf({ ...softwareKms, readPaths }, 1_001);
  t.true(usual.includes('--permission'));
  t.true(usual.includes('--allow-fs-read=/etc/dekd/ca.pem'));
  t.true(usual.includes('--max-old-space-size=500'));
  t.is(usual.at(-1), '1001');
  t.is(usual.includes('--allow-net'), process.allowedNodeEnvironmentFlags.has('--allow-net'));
  t.false(usual.some((argument) => /--allow-(fs-write|child-process|worker|wasi|inspector|ffi)/.test(argument)));
  t.false((await switchesOf({ ...softwareKms, network: false })).includes('--allow-net'));
});

test.serial('a process that cannot be made leaves no descriptor open', (t) => {
  // Longer than what Linux passes on as one variable (MAX_ARG_STRLEN, 128 KiB).
  process.env['DEKD_TEST_TOO_LONG'] = 'x'.repeat(200_000);
  t.teardown(() => delete process.env['DEKD_TEST_TOO_LONG']);
  const { parent, child: other } = openKeyChannel();
  t.teardown(() => [parent, other].forEach(closeKeyChannel));
  const facts = { ...softwareKms, environment: ['DEKD_TEST_TOO_LONG'] };
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  for (let count = 0; count < 20; count++) {
    t.throws(() => spawnChild(facts, { type: 'vault-transit' }, { in: parent, out: other }), { code: 'E2BIG' });
  }
  // Others of this process come and go.
  t.true(descriptors() < before + 10, `${before} → ${descriptors()}`);
});
