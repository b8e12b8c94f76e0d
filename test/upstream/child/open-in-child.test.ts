import test from 'ava';
import { openArena } from '../../../src/crypto/native.ts';
import { openInChild } from '../../../src/upstream/child/open-in-child.ts';
import { live } from '../../contract/upstream-context.ts';
import { fails } from '../../contract/upstream-contract.ts';
import { kekNamed, type SoftwareKmsOptions, softwareKms } from './software-kms/options.ts';
import { until } from './world.ts';

openArena({ size: 1 << 20, lock: 'best-effort' });
const open = openInChild(softwareKms);

function options(more: Partial<SoftwareKmsOptions>): SoftwareKmsOptions {
  return { type: 'vault-transit', ...more };
}

test.serial('what a provider refuses begins with the upstream that the configuration names', async (t) => {
  await t.throwsAsync(open('vault', options({ opening: 'problem' })), {
    name: 'DekdError',
    message: 'upstream vault: the package softkms is not installed: npm install softkms',
  });
});

for (const [opening, why] of [
  ['failure', /was killed: its provider did not open: no credential/],
  ['unknown', /was killed: its provider did not open: TypeError: the SDK does not load/],
  ['crash', /ended: SIGABRT/],
  ['garbage', /was killed: it wrote garbage: no answer to open/],
] as const) {
  test.serial(`an upstream that does not open is unreachable, and tried again: ${opening}`, async (t) => {
    const warnings: string[] = [];
    const upstream = await open('vault', { ...options({ opening }), onWarning: (warning) => warnings.push(warning) });
    t.teardown(() => upstream.close());
    await fails(t, upstream.describe(kekNamed('orders'), live()), 'unreachable');
    t.true(await until(() => warnings.filter((warning) => why.test(warning)).length >= 2), warnings.join('\n'));
  });
}

test('an upstream that opens is of its type', async (t) => {
  const upstream = await open('vault', options({ environment: ['DEKD_TEST_NOWHERE'] }));
  t.teardown(() => upstream.close());
  t.is(upstream.type, 'vault-transit');
  t.is((await upstream.describe(kekNamed('orders'), live())).state, 'active');
});
