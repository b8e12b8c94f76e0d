import test from 'ava';
import type { Config } from '../../src/config/config.ts';
import { makeMissingKeks, tellMissingKeks } from '../../src/daemon/missing-keks.ts';
import { LifecycleUpstream } from '../fakes/lifecycle-upstream.ts';
import { recordingLogger } from './recording-logger.ts';

const recipient = (name: string) => ({ upstream: 'store', kek: `local:${name}`, role: 'authority' });
const config = {
  keys: new Map([
    ['orders', { name: 'orders', recipients: [recipient('orders'), { ...recipient('x'), upstream: 'elsewhere' }] }],
    ['carts', { name: 'carts', recipients: [recipient('shared')] }],
    ['baskets', { name: 'baskets', recipients: [recipient('shared')] }],
  ]),
} as unknown as Config;

test('what the configuration names and no store has is made, each KEK once', async (t) => {
  const store = new LifecycleUpstream('orders');
  await makeMissingKeks(config, new Map([['store', store]]));
  t.deepEqual(store.calls, ['create local:a/shared start in the development profile']);
});

test('in production it is told, with the command that makes it', async (t) => {
  const store = new LifecycleUpstream('orders');
  const { logger, lines } = recordingLogger();
  await tellMissingKeks(config, new Map([['store', store]]), logger);
  t.deepEqual(store.calls, []);
  t.is(lines.length, 1);
  t.like(lines[0], { level: 'warn', event: 'warning' });
  t.regex(
    String(lines[0]?.['text']),
    /KEK local:shared does not exist yet; a custodian makes it with `dekctl keys create shared`$/,
  );
});
