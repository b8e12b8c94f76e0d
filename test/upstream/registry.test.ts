import test from 'ava';
import { hasLifecycle } from '../../src/upstream/provider.ts';
import { openUpstream, type UpstreamOptions } from '../../src/upstream/registry.ts';
import { makePlace } from './local/fixture.ts';

test('options of type local open a local upstream', async (t) => {
  const upstream = await openUpstream('store', makePlace(t).options);
  t.teardown(() => upstream.close());
  t.is(upstream.type, 'local');
  t.true(hasLifecycle(upstream));
});

test('what a provider refuses begins with the upstream that the configuration names', async (t) => {
  const { options } = makePlace(t);
  const call = openUpstream('store-of-eu', { ...options, rootKey: { file: '/nonexistent/root.key' } });
  await t.throwsAsync(call, {
    name: 'DekdError',
    message: /^upstream store-of-eu: root key \/nonexistent\/root\.key: /,
  });
});

test('a type without a provider is refused', async (t) => {
  for (const type of ['gcp-kms', 'constructor', '']) {
    const options = { type } as unknown as UpstreamOptions;
    await t.throwsAsync(openUpstream('store', options), {
      name: 'DekdError',
      message: `upstream store: type "${type}" is not supported; known: local, vault-transit, aws-kms, pkcs11`,
    });
  }
});
