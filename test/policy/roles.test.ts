import { readFileSync } from 'node:fs';
import test from 'ava';
import {
  ADMIN_RPC_BITS,
  ADMIN_RPC_ROLES,
  ARCHIVED_BIT,
  KEY_RPC_BITS,
  KEY_RPC_ROLES,
  rolesMask,
} from '../../src/policy/roles.ts';

/** By their names in the tables: both services have a DescribeKey. */
function rpcsOf(file: 'agent.proto' | 'admin.proto'): string[] {
  const source = readFileSync(new URL(`../../proto/dekd/v1/${file}`, import.meta.url), 'utf8');
  const names = [...source.matchAll(/^ {2}rpc (\w+)\(/gm)].map((match) => match[1] as string);
  return file === 'agent.proto' ? names : names.map((name) => (name === 'DescribeKey' ? `Admin${name}` : name));
}

test('every RPC of both services stands in exactly the tables that it belongs to', (t) => {
  const declared = new Set([...rpcsOf('agent.proto'), ...rpcsOf('admin.proto')]);
  t.true(declared.size >= 27);
  const decided = new Set([...Object.keys(KEY_RPC_ROLES), ...Object.keys(ADMIN_RPC_ROLES)]);
  t.deepEqual([...decided].sort(), [...declared].sort());
});

test('user alone gets the data calls, and gets nothing of the admin service', (t) => {
  const data = rpcsOf('agent.proto').filter((rpc) => rpc !== 'Rewrap');
  const user = Object.entries(KEY_RPC_ROLES).filter(([, roles]) => (roles as readonly string[]).includes('user'));
  t.deepEqual(user.map(([rpc]) => rpc).sort(), data.sort());
});

test('each RPC has a bit of its own', (t) => {
  for (const bits of [KEY_RPC_BITS, ADMIN_RPC_BITS]) {
    const values = Object.values(bits);
    t.is(new Set(values).size, values.length);
    t.true(values.every((bit) => bit > 0 && Number.isInteger(Math.log2(bit))));
  }
  for (const bit of Object.values(KEY_RPC_BITS)) t.true(bit < ARCHIVED_BIT);
  t.is((KEY_RPC_BITS as Record<string, unknown>)['constructor'], undefined);
});

test('rolesMask is the union of what the roles may call', (t) => {
  t.is(rolesMask(ADMIN_RPC_ROLES, ADMIN_RPC_BITS, []), 0);
  t.is(
    rolesMask(ADMIN_RPC_ROLES, ADMIN_RPC_BITS, ['custodian']),
    ADMIN_RPC_BITS.CreateKey | ADMIN_RPC_BITS.ListKeys | ADMIN_RPC_BITS.GetStatus,
  );
});
