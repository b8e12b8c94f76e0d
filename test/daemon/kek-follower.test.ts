import test from 'ava';
import { KekFollower } from '../../src/daemon/kek-follower.ts';
import { DekdError } from '../../src/errors.ts';
import type { Keyrings } from '../../src/keyring/keyrings.ts';
import type { KekDescription } from '../../src/upstream/provider.ts';
import { LifecycleUpstream, rotated } from '../fakes/lifecycle-upstream.ts';
import { settled } from '../helpers/movable-clock.ts';
import { recordingLogger } from './recording-logger.ts';

/** Keys `orders` and `carts` on KEKs of their names, `shared` on orders', and `safe`, which has orders' KEK for recovery only. */
async function follow() {
  const told: string[] = [];
  const rotations: string[] = [];
  let failure: Error | undefined;
  const keyring = (name: string, kek: string, role: string) => ({
    options: { name, recipients: [{ kek: { upstreamName: 'store', uri: `local:a/${kek}` }, role }] },
    rotate: async () => {
      rotations.push(name);
      if (failure !== undefined) throw failure;
      return 2;
    },
  });
  const rings = new Map([
    ['orders', keyring('orders', 'orders', 'authority')],
    ['carts', keyring('carts', 'carts', 'standby')],
    ['shared', keyring('shared', 'orders', 'authority')],
    ['safe', keyring('safe', 'orders', 'recovery')],
  ]);
  const keyrings = {
    kekChanged: (upstream: string, kek: KekDescription) => void told.push(`${upstream} ${kek.uri} ${kek.state}`),
    names: () => [...rings.keys()],
    byName: (name: string) => rings.get(name),
  } as unknown as Keyrings;
  const { logger, lines } = recordingLogger();
  const follower = new KekFollower(keyrings, logger);
  const store = new LifecycleUpstream('orders', 'carts');
  await follower.follow(new Map([['store', store]]));
  return { follower, store, told, rotations, lines, failWith: (error: Error) => (failure = error) };
}

test('at the start the keyrings hear what each KEK is; nothing of it is news', async (t) => {
  const { told, lines, rotations } = await follow();
  t.deepEqual(told, ['store local:a/orders active', 'store local:a/carts active']);
  t.deepEqual([lines, rotations], [[], []]);
});

test('a change that nobody asked for reaches the keyrings within the call, and the log', async (t) => {
  const { store, told, lines } = await follow();
  store.tell('local:a/orders', { state: 'archived' });
  t.is(told.at(-1), 'store local:a/orders archived');
  t.like(lines, [{ level: 'info', event: 'kek_state', kek: 'local:a/orders', state: 'archived', before: 'active' }]);
  store.tell('local:a/orders', { state: 'archived' });
  t.is(lines.length, 1);
});

test('a version that came by itself: new DEKs for every key that is wrapped under the KEK, and no other', async (t) => {
  const { store, rotations, lines } = await follow();
  store.tell('local:a/orders', { versions: rotated(store.keks.get('local:a/orders') as KekDescription) });
  await settled();
  t.deepEqual(rotations, ['orders', 'shared']);
  t.like(lines, [
    { event: 'kek_version', kek: 'local:a/orders', version: '2' },
    { event: 'key_rotated', key: 'orders', deks: 2 },
    { event: 'key_rotated', key: 'shared', deks: 2 },
  ]);
});

test('a rotation that a call asked for is left to the call; other keys under the KEK get new DEKs', async (t) => {
  const { follower, store, rotations, told } = await follow();
  await follower.rotate('orders', 'store', () => store.rotateKek('local:a/orders', 'uid 1'));
  await settled();
  t.deepEqual(rotations.splice(0), ['shared']);
  t.is(told.at(-1), 'store local:a/orders active');
  await follower.rotate('shared', 'store', () => store.rotateKek('local:a/orders', 'uid 1'));
  t.deepEqual(rotations.splice(0), ['orders']);
  // The next one by itself is left to nobody.
  store.tell('local:a/orders', { versions: rotated(store.keks.get('local:a/orders') as KekDescription) });
  t.deepEqual(rotations, ['orders', 'shared']);
});

test('a rotation that fails leaves no mark behind', async (t) => {
  const { follower, store, rotations } = await follow();
  store.fail.set('rotate', new Error('full disk'));
  await t.throwsAsync(() => follower.rotate('orders', 'store', () => store.rotateKek('local:a/orders', 'uid 1')));
  store.tell('local:a/orders', { versions: rotated(store.keks.get('local:a/orders') as KekDescription) });
  t.deepEqual(rotations, ['orders', 'shared']);
});

test('new DEKs that can’t be had are told, and not while the agent stops', async (t) => {
  const { follower, store, lines, failWith } = await follow();
  failWith(new DekdError('UPSTREAM_UNAVAILABLE', 'no answer'));
  store.tell('local:a/carts', { versions: rotated(store.keks.get('local:a/carts') as KekDescription) });
  await settled();
  t.like(lines.at(-1), { level: 'warn', event: 'rotation_failed', key: 'carts', reason: 'UPSTREAM_UNAVAILABLE' });
  const before = lines.length;
  store.tell('local:a/carts', { versions: rotated(store.keks.get('local:a/carts') as KekDescription) });
  follower.stop();
  await settled();
  t.is(lines.filter(({ event }) => event === 'rotation_failed').length, 1);
  t.true(lines.length > before);
});

test('after the stop nothing is passed on', async (t) => {
  const { follower, store, told } = await follow();
  const before = told.length;
  follower.stop();
  store.tell('local:a/orders', { state: 'disabled' });
  follower.changed('store', store.keks.get('local:a/orders') as KekDescription);
  t.is(told.length, before);
  t.is(store.onKekChange, undefined);
});
