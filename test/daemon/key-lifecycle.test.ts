import test from 'ava';
import type { KekFollower } from '../../src/daemon/kek-follower.ts';
import { KeyLifecycle } from '../../src/daemon/key-lifecycle.ts';
import { DekdError } from '../../src/errors.ts';
import type { Keyring } from '../../src/keyring/keyring.ts';
import { UpstreamFailure } from '../../src/upstream/failure.ts';
import type { KekDescription, Upstream } from '../../src/upstream/provider.ts';
import { LifecycleUpstream } from '../fakes/lifecycle-upstream.ts';

const DAY = 86_400_000;
const TENANT = new Map([['tenant', 'acme']]);

/** A key with a standby in `spare`, an authority in `store`, one for recovery, and one in a cloud. */
function lifecycle() {
  const order: string[] = [];
  const upstreams = {
    store: new LifecycleUpstream('orders', 'retired'),
    spare: new LifecycleUpstream('spare'),
    vault: new LifecycleUpstream('escrow', 'orders'),
  };
  const recipient = (upstreamName: string, upstream: object, uri: string, role: string) => ({
    kek: { upstreamName, upstream, uri },
    role,
  });
  const keyring = {
    options: {
      name: 'orders',
      recipients: [
        recipient('spare', upstreams.spare, 'local:a/spare', 'standby'),
        recipient('cloud', { type: 'aws-kms' }, 'aws-kms:x', 'authority'),
        recipient('store', upstreams.store, 'local:a/orders', 'authority'),
        recipient('vault', upstreams.vault, 'local:a/escrow', 'recovery'),
      ],
      decryptWith: [
        { upstreamName: 'store', upstream: upstreams.store, uri: 'local:a/retired' },
        { upstreamName: 'cloud', upstream: { type: 'aws-kms' }, uri: 'aws-kms:y' },
        { upstreamName: 'vault', upstream: upstreams.vault, uri: 'local:a/orders' },
      ],
    },
    purgePartition: (partition: ReadonlyMap<string, string>) => {
      order.push(`purge ${[...partition.values()].join()}`);
      return 3;
    },
  } as unknown as Keyring;
  const follower = {
    changed: (upstream: string, kek: KekDescription) => void order.push(`${upstream} ${kek.uri} ${kek.state}`),
    rotate: async (key: string, upstream: string, rotate: () => Promise<KekDescription>) => {
      order.push(`rotate ${key} ${upstream}`);
      return rotate();
    },
  } as unknown as KekFollower;
  return {
    ...upstreams,
    keyring,
    order,
    lifecycle: new KeyLifecycle(follower, new Map<string, Upstream>(Object.entries(upstreams))),
  };
}

const all = (keyring: Keyring) => ({ keyring, kek: '' });

const cloudOnly = {
  options: {
    name: 'orders',
    recipients: [{ kek: { upstreamName: 'kms', upstream: { type: 'aws-kms' } }, role: 'authority' }],
    decryptWith: [],
  },
} as unknown as Keyring;

test('restricting begins with the authorities, permitting ends with them, recovery is left alone', async (t) => {
  const { lifecycle: work, keyring, store, spare, order } = lifecycle();
  await work.change(all(keyring), 'disable', 'uid 1');
  t.deepEqual(order.splice(0), ['store local:a/orders disabled', 'spare local:a/spare disabled']);
  await work.change(all(keyring), 'enable', 'uid 2');
  t.deepEqual(order.splice(0), ['spare local:a/spare active', 'store local:a/orders active']);
  await work.change(all(keyring), 'archive', 'uid 2');
  t.deepEqual(order.splice(0), ['store local:a/orders archived', 'spare local:a/spare archived']);
  t.deepEqual(store.calls, [
    'disable local:a/orders uid 1',
    'enable local:a/orders uid 2',
    'archive local:a/orders uid 2',
  ]);
  t.is(spare.calls.length, 3);
});

test('a failure in the middle names what is done, and the same call completes it', async (t) => {
  const { lifecycle: work, keyring, spare, order } = lifecycle();
  spare.fail.set('disable', new UpstreamFailure('unreachable', 'keystore /x: no space left on the device'));
  const error = await t.throwsAsync(() => work.change(all(keyring), 'disable', 'uid 1'), { instanceOf: DekdError });
  t.is(error.reason, 'UPSTREAM_UNAVAILABLE');
  t.is(
    error.message,
    'keystore /x: no space left on the device; done before that: KEK local:a/orders; ask for the same again',
  );
  // The authority refuses already.
  t.deepEqual(order.splice(0), ['store local:a/orders disabled']);
  await work.change(all(keyring), 'disable', 'uid 1');
  t.deepEqual(order, ['store local:a/orders disabled', 'spare local:a/spare disabled']);
});

test('the first KEK’s failure changes nothing and says no more than the upstream', async (t) => {
  const { lifecycle: work, keyring, store, order } = lifecycle();
  const refusal = new DekdError('KEY_DESTROYED', 'KEK orders is destroyed');
  store.fail.set('disable', refusal);
  t.is(await t.throwsAsync(() => work.change(all(keyring), 'disable', 'uid 1')), refusal);
  t.deepEqual(order, []);
});

test('deletion is in effect when it is for every KEK; the later time counts', async (t) => {
  const { lifecycle: work, keyring, order, spare } = lifecycle();
  const request = { waitingPeriodMs: 7 * DAY, by: 'uid 1', custodians: 2 };
  t.deepEqual(await work.scheduleDeletion(all(keyring), request), {
    requestedBy: ['uid 1'],
    waitingPeriodMs: 7 * DAY,
    at: undefined,
  });
  spare.fail.set('schedule', new UpstreamFailure('unreachable', 'no space'));
  await t.throwsAsync(() => work.scheduleDeletion(all(keyring), { ...request, by: 'uid 2' }), {
    message: /same again/,
  });
  t.is(order.at(-1), 'store local:a/orders pending-deletion');
  const { at, requestedBy } = await work.scheduleDeletion(all(keyring), { ...request, by: 'uid 3' });
  t.is(at, 1_000 + 7 * DAY);
  t.deepEqual(requestedBy, ['uid 1', 'uid 2', 'uid 3']);
  order.length = 0;
  await work.cancelDeletion(all(keyring), 'uid 4');
  t.deepEqual(order, ['spare local:a/spare disabled', 'store local:a/orders disabled']);
});

test('a KEK whose first request lapsed meanwhile keeps the deletion from being in effect', async (t) => {
  const { lifecycle: work, keyring, spare } = lifecycle();
  const request = { waitingPeriodMs: 7 * DAY, custodians: 2 };
  await work.scheduleDeletion(all(keyring), { ...request, by: 'uid 1' });
  const { deletion: _lapsed, ...rest } = spare.keks.get('local:a/spare') as KekDescription;
  spare.put(rest);
  t.is((await work.scheduleDeletion(all(keyring), { ...request, by: 'uid 2' })).at, undefined);
});

test('a partition: refused on disk first, then its DEKs are zeroed, KEK by KEK', async (t) => {
  const { lifecycle: work, keyring, store, spare, order } = lifecycle();
  spare.fail.set('disable partition', new UpstreamFailure('unreachable', 'no space'));
  await t.throwsAsync(() => work.changePartition(keyring, TENANT, 'disable', 'uid 1'), {
    message: /done before that: KEK local:a.orders/,
  });
  t.deepEqual(store.calls, ['disable orders [["tenant","acme"]] local:a/orders uid 1']);
  t.deepEqual(order.splice(0), ['purge acme']);
  t.is(await work.changePartition(keyring, TENANT, 'disable', 'uid 1'), 6);
  t.is(await work.changePartition(keyring, TENANT, 'enable', 'uid 2'), 0);
  t.is(spare.calls.at(-1), 'enable orders [["tenant","acme"]] local:a/spare uid 2');
});

test('rotation: each KEK, the first authority’s version in the answer; nothing for a key that lives elsewhere', async (t) => {
  const { lifecycle: work, keyring, order } = lifecycle();
  t.deepEqual(await work.rotate(keyring, 'uid 1'), { uri: 'local:a/orders', version: '2' });
  t.deepEqual(order, ['rotate orders store', 'rotate orders spare']);
  t.is(await work.rotate(cloudOnly, 'uid 1'), undefined);
});

test('a key without a KEK that could be changed here is told where to', async (t) => {
  const { lifecycle: work } = lifecycle();
  await t.throwsAsync(() => work.change(all(cloudOnly), 'disable', 'uid 1'), {
    message: 'key: orders has no KEK in a local upstream; change it at its upstream kms (aws-kms)',
  });
});

test('one KEK that the call names, in either form, whatever the key has it for; the others are left alone', async (t) => {
  const { lifecycle: work, keyring, store, order } = lifecycle();
  const request = { waitingPeriodMs: 7 * DAY, by: 'uid 2', custodians: 1 };
  await work.change({ keyring, kek: 'local:retired' }, 'disable', 'uid 1');
  await work.change({ keyring, kek: 'local:a/retired' }, 'archive', 'uid 2');
  t.like(await work.scheduleDeletion({ keyring, kek: 'local:retired' }, request), { requestedBy: ['uid 2'] });
  await work.cancelDeletion({ keyring, kek: 'local:retired' }, 'uid 2');
  const states = ['disabled', 'archived', 'pending-deletion', 'disabled'];
  t.deepEqual(
    order.splice(0),
    states.map((state) => `store local:a/retired ${state}`),
  );
  t.is(store.calls.length, states.length);
  await work.change({ keyring, kek: 'local:escrow' }, 'disable', 'uid 1');
  t.deepEqual(order, ['vault local:a/escrow disabled']);
});

test('a KEK that the key does not have is refused and names those that it has', async (t) => {
  const { lifecycle: work, keyring, order } = lifecycle();
  const known = 'local:a/spare, local:a/orders, local:a/escrow, local:a/retired, local:a/orders';
  for (const kek of ['local:absent', 'aws-kms:x', 'retired', 'local:b/retired', 'x\n'.repeat(99)]) {
    await t.throwsAsync(() => work.change({ keyring, kek }, 'disable', 'uid 1'), {
      message: `kek: is no KEK of key orders in a local upstream; write one of: ${known}`,
    });
  }
  await t.throwsAsync(() => work.change({ keyring, kek: 'local:orders' }, 'disable', 'uid 1'), {
    message: `kek: local:orders is a KEK of orders in several upstreams; write one of: ${known}`,
  });
  await t.throwsAsync(() => work.change({ keyring: cloudOnly, kek: 'local:orders' }, 'disable', 'uid 1'), {
    message: 'kek: is no KEK of key orders in a local upstream; write one of: none',
  });
  t.deepEqual(order, []);
});
