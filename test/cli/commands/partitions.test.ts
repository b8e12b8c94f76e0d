import test from 'ava';
import { fakeAgent, type Request } from '../fake-agent.ts';
import { dekctl } from '../run.ts';

let last: Request;
const keep =
  <T extends object>(response: T) =>
  (request: Request): T => {
    last = request;
    return response;
  };
const agent = fakeAgent(test, {
  DisablePartition: keep({ purged_deks: 2 }),
  EnablePartition: keep({}),
});
const partitions = async (...args: string[]) => {
  const { code, stdout, stderr } = await dekctl(['partitions', ...args, ...agent.flags]);
  return { code, stdout: stdout.toString(), stderr };
};

test.serial('disable and enable name the partition', async (t) => {
  t.is(
    (await partitions('disable', 'orders', '--partition', 'tenant=acme', '--partition', 'region=eu')).stdout,
    'disabled region=eu, tenant=acme of orders: every use is refused from now on, DEKs zeroed: 2; back with: dekctl partitions enable\n',
  );
  t.deepEqual([last.key, { ...last.partition }], ['orders', { tenant: 'acme', region: 'eu' }]);
  t.is((await partitions('enable', 'orders', '--partition', 'tenant=acme')).stdout, 'enabled tenant=acme of orders\n');
  t.deepEqual(JSON.parse((await partitions('disable', 'orders', '--partition', 'a=b', '--json')).stdout), {
    purged_deks: '2',
  });
});

test.serial('an entry that is none', async (t) => {
  const { code, stderr } = await partitions('disable', 'orders', '--partition', 'acme');
  t.is(code, 2);
  t.is(stderr, 'dekctl: --partition acme: expected NAME=VALUE, such as tenant=acme\n');
});
