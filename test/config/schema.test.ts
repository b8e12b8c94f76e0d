import test from 'ava';
import { USER_RPCS } from '../../src/config/schema.ts';
import { KEY_RPC_ROLES } from '../../src/policy/roles.ts';

test('rules may narrow role user to exactly what the policy gives it', (t) => {
  const given = Object.entries(KEY_RPC_ROLES).filter(([, roles]) => (roles as readonly string[]).includes('user'));
  t.deepEqual([...USER_RPCS].sort() as string[], given.map(([rpc]) => rpc).sort());
});
