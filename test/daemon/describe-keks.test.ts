import test from 'ava';
import type { UpstreamConfig } from '../../src/config/config.ts';
import { describeKeks } from '../../src/daemon/describe-keks.ts';
import { DekdError } from '../../src/errors.ts';
import { Kek } from '../../src/keyring/kek.ts';
import type { Keyring } from '../../src/keyring/keyring.ts';
import { UpstreamFailure } from '../../src/upstream/failure.ts';
import { LifecycleUpstream } from '../fakes/lifecycle-upstream.ts';
import { MovableClock } from '../helpers/movable-clock.ts';

const store = new LifecycleUpstream('orders', 'carts', 'old');
const kek = (name: string) => new Kek(`local:a/${name}`, 'store', store, new MovableClock());
const settings = (more: object = {}) =>
  new Map([
    [
      'store',
      {
        type: 'local',
        schedule: {},
        keks: new Map([['carts', { rotateAfterMs: 7 }]]),
        ...more,
      } as unknown as UpstreamConfig,
    ],
  ]);

function describe(recipients: [string, string][], upstreams = settings(), decryptWith: string[] = []) {
  const keyring = {
    options: {
      name: 'orders',
      recipients: recipients.map(([name, role]) => ({ kek: kek(name), role })),
      decryptWith: decryptWith.map(kek),
    },
  } as unknown as Keyring;
  return describeKeks(keyring, upstreams, new AbortController().signal);
}

test('recipients in their order, then what only decrypts; recovery is not asked', async (t) => {
  const facts = await describe(
    [
      ['gone', 'recovery'],
      ['orders', 'authority'],
    ],
    settings(),
    ['old'],
  );
  t.deepEqual(
    facts.map(({ kek: { uri }, role, description }) => [uri, role, description?.state]),
    [
      ['local:a/gone', 'recovery', undefined],
      ['local:a/orders', 'authority', 'active'],
      ['local:a/old', undefined, 'active'],
    ],
  );
  t.is(facts[0]?.problem, undefined);
});

test('the next rotation: the KEK’s own setting, else its upstream’s; none while it is not active', async (t) => {
  const next = async (name: string, more?: object) =>
    (await describe([[name, 'authority']], settings(more)))[0]?.nextRotationAt;
  t.is(await next('orders'), undefined);
  t.is(await next('carts'), 1 + 7);
  t.is(await next('orders', { schedule: { rotateAfterMs: 100 } }), 1 + 100);
  const active = { version: '1', state: 'active', createdAt: 1 } as const;
  store.put({ uri: 'local:a/paused', state: 'disabled', versions: [active], labels: new Map() });
  t.is(await next('paused', { schedule: { rotateAfterMs: 100 } }), undefined);
});

test('a KEK that can’t be described says why, and keeps no other from being described', async (t) => {
  const [missing, fine] = await describe([
    ['none', 'authority'],
    ['orders', 'standby'],
  ]);
  t.is(missing?.problem, 'upstream store has no such KEK; a custodian makes it with `dekctl keys create none`');
  t.is(missing?.description, undefined);
  t.is(fine?.description?.state, 'active');

  const broken = new LifecycleUpstream();
  const thrown = [
    new UpstreamFailure('throttled', 'secret words of a KMS'),
    new DekdError('SECRET_MEMORY_EXHAUSTED', 'no slot'),
  ];
  const problems = [];
  for (const error of thrown) {
    broken.describe = () => Promise.reject(error);
    const keyring = {
      options: {
        name: 'k',
        recipients: [{ kek: new Kek('local:k', 'store', broken, new MovableClock()), role: 'authority' }],
        decryptWith: [],
      },
    } as unknown as Keyring;
    problems.push((await describeKeks(keyring, settings(), new AbortController().signal))[0]?.problem);
  }
  t.deepEqual(problems, ['upstream store did not describe it: throttled', 'no slot']);
});
