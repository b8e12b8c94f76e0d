import test from 'ava';
import { fakeAgent } from '../fake-agent.ts';
import { dekctl } from '../run.ts';

const at = (seconds: number) => ({ seconds, nanos: 0 });
const agent = fakeAgent(test, {
  DescribeKey: () => ({
    key: { key: 'orders', state: 'KEY_STATE_PENDING_DELETION', suite: 'SUITE_XAES_256_GCM', as_of: at(9) },
    keks: [
      {
        upstream: 'store',
        kek: 'local:x/orders',
        role: 'RECIPIENT_ROLE_AUTHORITY',
        state: 'KEY_STATE_PENDING_DELETION',
        state_changed_at: at(50),
        state_changed_by: 'uid 2002',
        labels: { team: 'payments' },
        versions: [
          {
            version: '1',
            state: 'KEK_VERSION_STATE_DESTROYED',
            created_at: at(0),
            created_by: 'uid 2001',
            age: at(90),
            destroyed_at: at(60),
            destroyed_by: 'uid 2001, uid 2002',
          },
          {
            version: '2',
            state: 'KEK_VERSION_STATE_DECRYPT_ONLY',
            created_at: at(10),
            created_by: 'rotation schedule',
            age: at(80),
          },
          { version: '3', state: 'KEK_VERSION_STATE_ACTIVE', created_at: at(20), age: at(70) },
        ],
        expires_at: at(100),
        next_rotation_at: at(110),
        deletion: { requested_by: ['uid 2001', 'uid 2002'], waiting_period: at(604_800), deletion_at: at(120) },
      },
      {
        upstream: 'spare',
        kek: 'local:y/orders',
        role: 'RECIPIENT_ROLE_STANDBY',
        state: 'KEY_STATE_ACTIVE',
        deletion: { requested_by: ['uid 2001'], waiting_period: at(604_800) },
        disabled_partitions: [
          { key: 'tenants', partition: { tenant: 'acme', region: 'eu' }, disabled_at: at(30), disabled_by: 'uid 2003' },
        ],
        disabled_partition_count: 2,
      },
      {
        upstream: 'spare',
        kek: 'local:y/old',
        problem: 'upstream spare did not describe it: unreachable\u001b[2J',
        status: { state: 'unreachable', since: at(70), last_failure: 'unreachable', last_failure_at: at(71) },
      },
    ],
    serves_until: at(69),
    last_serves_until: at(69),
  }),
});

test.serial('for people: the key from memory, then each KEK as its upstream describes it', async (t) => {
  const { stdout } = await dekctl(['keys', 'describe', 'orders', ...agent.flags]);
  const [key = '', ...keks] = stdout.toString().split('\n\n');
  t.regex(key, /^key +orders\nstate +pending deletion\nsuite +XAES_256_GCM\n/);
  t.regex(key, /\nserves +until 1970-01-01T00:01:09.000Z \(60s more\), if no upstream answers$/);
  t.is(
    keks.join('\n\n'),
    `KEK              local:x/orders (authority, upstream store)
  state          pending deletion since 1970-01-01T00:00:50.000Z by uid 2002
  deletion       at 1970-01-01T00:02:00.000Z, asked for by uid 2001, uid 2002
  expires        1970-01-01T00:01:40.000Z
  next rotation  1970-01-01T00:01:50.000Z
  labels         team=payments
  version 1      destroyed, made 1970-01-01T00:00:00.000Z by uid 2001 (90s ago), destroyed 1970-01-01T00:01:00.000Z by uid 2001, uid 2002
  version 2      decrypt-only, made 1970-01-01T00:00:10.000Z by rotation schedule (80s ago)
  version 3      active, made 1970-01-01T00:00:20.000Z (70s ago)

KEK           local:y/orders (standby, upstream spare)
  state       active
  deletion    asked for by uid 2001, after 7d; waits for another custodian
  partition   region=eu, tenant=acme of key tenants: disabled since 1970-01-01T00:00:30.000Z by uid 2003
  partitions  2 are disabled, the first 1 are shown

KEK        local:y/old (decrypt_with, upstream spare)
  problem  upstream spare did not describe it: unreachable\\u{1b}[2J
  calls    unreachable since 1970-01-01T00:01:10.000Z
`,
  );
});

test.serial('for programs', async (t) => {
  const { stdout } = await dekctl(['keys', 'describe', 'orders', '--json', ...agent.flags]);
  const { keks } = JSON.parse(stdout.toString());
  t.like(keks[0].versions[0], { destroyed_at: '1970-01-01T00:01:00.000Z', age: '90s' });
  t.like(keks[0], { expires_at: '1970-01-01T00:01:40.000Z', next_rotation_at: '1970-01-01T00:01:50.000Z' });
  t.like(keks[0].deletion, { waiting_period: '604800s', deletion_at: '1970-01-01T00:02:00.000Z' });
});
