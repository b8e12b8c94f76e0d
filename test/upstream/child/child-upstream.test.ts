import test from 'ava';
import { openArena } from '../../../src/crypto/native.ts';
import { ChildUpstream } from '../../../src/upstream/child/child-upstream.ts';
import { live } from '../../contract/upstream-context.ts';
import { fails, upstreamContract } from '../../contract/upstream-contract.ts';
import { kekNamed, softwareKms } from './software-kms/options.ts';
import { ANY_WRAPPED, CONTEXT, World } from './world.ts';

upstreamContract('a provider in a child process', async () => {
  openArena({ size: 1 << 20, lock: 'best-effort' });
  const upstream = await ChildUpstream.open({
    facts: softwareKms,
    options: { type: 'vault-transit', warmChild: false },
    onWarning: () => undefined,
  });
  return {
    upstream,
    kek: kekNamed('orders'),
    otherKek: kekNamed('invoices'),
    missingKek: kekNamed('missing'),
    missingVersion: '2',
    bindsContext: true,
    rotate: undefined,
    tearDown: () => upstream.close(),
  };
});

test('a call says whether it confirms a refusal', async (t) => {
  const { upstream } = await World.open(t);
  const first = await upstream.describe(kekNamed('orders'), live());
  const confirming = await upstream.describe(kekNamed('orders'), { ...live(), fresh: true });
  t.is(first.labels.get('fresh'), 'false');
  t.is(confirming.labels.get('fresh'), 'true');
});

test('the warnings of a provider are those of its upstream', async (t) => {
  const { upstream } = await World.open(t);
  t.regex(upstream.warnings.join(), /^environment: /);
});

test('a call that is given up while its child starts ends then', async (t) => {
  const world = await World.open(t, { warmChild: false, maxCalls: 1 });
  await world.use();
  const begun = performance.now();
  await fails(t, world.unwrap(ANY_WRAPPED, 'orders', AbortSignal.timeout(5)), 'unreachable');
  t.true(performance.now() - begun < 1_000);
  await world.use();
});

test('a handle that is stale is our own mistake, and harms nobody', async (t) => {
  const world = await World.open(t);
  const call = world.upstream.wrap(kekNamed('orders'), (2 ** 21) as never, CONTEXT, live());
  await t.throwsAsync(call, { name: 'DekdError', message: /internal/ });
  await world.use();
});
