import test from 'ava';
import { childEnvironment, sibling } from '../../../src/upstream/child/spawn.ts';

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
