import { status } from '@grpc/grpc-js';
import test from 'ava';
import { fakeAgent, type Request, refuse } from '../fake-agent.ts';
import { dekctl } from '../run.ts';

let last: Request;
const agent = fakeAgent(test, {
  FlushKeyring: (request) => {
    last = request;
    return { purged_deks: 4, keys: request.key === '' ? ['carts', 'orders'] : [request.key] };
  },
  WarmKeyring: (request) => {
    last = request;
    if (request.key === 'out') refuse(status.UNAVAILABLE, 'key out: no answer', 'UPSTREAM_UNAVAILABLE');
    return { deks: request.key === 'held' ? 0 : 1 };
  },
});
const run = async (...args: string[]) => {
  const { code, stdout, stderr } = await dekctl([...args, ...agent.flags]);
  return { code, stdout: stdout.toString(), stderr };
};

test.serial('flush: every key, one, a partition of it', async (t) => {
  t.is((await run('flush')).stdout, 'flushed carts, orders: DEKs zeroed: 4\n');
  t.is(last.key, '');
  t.is((await run('flush', 'orders', '--partition', 'tenant=acme')).stdout, 'flushed orders: DEKs zeroed: 4\n');
  t.deepEqual([last.key, { ...last.partition }], ['orders', { tenant: 'acme' }]);
  t.deepEqual(JSON.parse((await run('flush', '--json')).stdout), { purged_deks: '4', keys: ['carts', 'orders'] });
});

test.serial('warm: made, or there already', async (t) => {
  t.is((await run('warm', 'orders', '--partition', 'tenant=acme')).stdout, 'warmed orders: DEKs made: 1\n');
  t.deepEqual({ ...last.partition }, { tenant: 'acme' });
  t.is(
    (await run('warm', 'held')).stdout,
    'nothing to do for held: its DEK is in memory, or its cache mode keeps none\n',
  );
  t.deepEqual(JSON.parse((await run('warm', 'orders', '--json')).stdout), { deks: '1' });
  t.is((await run('warm', 'out')).code, 6);
  t.is((await run('warm')).code, 2);
});
