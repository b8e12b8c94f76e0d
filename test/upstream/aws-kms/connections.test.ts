import { setTimeout } from 'node:timers/promises';
import test from 'ava';
import { Connections } from '../../../src/upstream/aws-kms/connections.ts';
import { FRESH_MS } from '../../../src/upstream/child/child-provider.ts';

class FakeClient {
  ended = 0;
  destroy(): void {
    this.ended++;
  }
}

function world() {
  const made: FakeClient[] = [];
  const connections = new Connections(() => {
    const client = new FakeClient();
    made.push(client);
    return client;
  });
  return { made, connections };
}

test('one client per region, kept from call to call', async (t) => {
  const { made, connections } = world();
  const first = await connections.run('a', async (client) => client);
  t.is(await connections.run('a', async (client) => client), first);
  t.not(await connections.run('b', async (client) => client), first);
  t.is(made.length, 2);
});

test('a retired client ends with its last call, also one that fails, and the next call has another', async (t) => {
  const { made, connections } = world();
  const { promise, reject } = Promise.withResolvers<never>();
  const underway = connections.run('a', () => promise);
  const second = Promise.withResolvers<void>();
  const also = connections.run('a', () => second.promise);
  connections.retire('a');
  t.is(await connections.run('a', async (client) => client), made[1]!);
  second.resolve();
  await also;
  t.is(made[0]!.ended, 0);
  reject(new Error('reset'));
  await t.throwsAsync(underway, { message: 'reset' });
  t.deepEqual(
    made.map(({ ended }) => ended),
    [1, 0],
  );
});

test('what failed late does not end the client that others have made since', async (t) => {
  const { made, connections } = world();
  const expired = await connections.run('a', async (client) => client);
  connections.retire('a', expired);
  await connections.run('a', async () => undefined);
  connections.retire('a', expired);
  await connections.run('a', async () => undefined);
  t.deepEqual(
    made.map(({ ended }) => ended),
    [1, 0],
  );
});

test('a fresh client is not made anew, an older one is', async (t) => {
  const { made, connections } = world();
  const use = () => connections.run('a', async () => undefined);
  connections.renew('a');
  await use();
  for (let count = 0; count < 100; count++) {
    connections.renew('a');
    await use();
  }
  t.true(made.length <= 2, `${made.length} clients for 100 confirmations`);
  await setTimeout(FRESH_MS + 10);
  const before = made.length;
  connections.renew('a');
  await use();
  t.is(made.length, before + 1);
});

test('retiring all ends each once', async (t) => {
  const { made, connections } = world();
  for (const region of ['a', 'b']) await connections.run(region, async () => undefined);
  connections.retireAll();
  connections.retireAll();
  connections.retire('c');
  t.deepEqual(
    made.map(({ ended }) => ended),
    [1, 1],
  );
});
