import test from 'ava';
import { fakeAgent } from '../fake-agent.ts';
import { dekctl } from '../run.ts';

const span = (seconds: number) => ({ seconds, nanos: 0 });
const agent = fakeAgent(test, {
  GetStatus: () => ({
    version: '0.1.0',
    node_version: 'v26.10.0',
    profile: 'production',
    started_at: span(0),
    memory: { kind: 'memfd_secret', size: 4096, requested: 8192, slots: 16, slots_used: 3 },
    upstreams: [
      { upstream: 'store', type: 'local', state: 'ok', as_of: span(1), calls: 5, failures: 1, warnings: ['careful'] },
      { upstream: 'idle', type: 'local' },
    ],
    keys: [
      {
        key: 'orders',
        cache_mode: 'session',
        deks: [
          {
            dek_id: 'ab'.repeat(32),
            class: 'encrypting',
            partition: { tenant: 'acme' },
            age: span(90),
            verification_age: span(2),
            messages: 12,
            rotation_overdue: true,
            refusal_pending: true,
          },
        ],
        counters: { hits: 3, misses: 0 },
      },
    ],
    warnings: ['memory is short'],
  }),
});

test.serial('for people', async (t) => {
  const { stdout } = await dekctl(['status', ...agent.flags]);
  t.is(
    stdout.toString(),
    `dekd     0.1.0 on Node v26.10.0, profile production
started  1970-01-01T00:00:00.000Z
memory   memfd_secret, 4096 bytes, 3 of 16 slots used
warning  memory is short

upstream   store (local)
  state    ok as of 1970-01-01T00:00:01.000Z
  calls    5, 1 failed
  warning  careful

upstream  idle (local)
  state   not called yet
  calls   0, 0 failed

key           orders (cache session)
  counters    hits=3
  encrypting  DEK abababababababab, tenant=acme, age 90s, verified 2s ago, 12 messages, rotation overdue, refusal pending
`,
  );
});

test.serial('for programs', async (t) => {
  const document = JSON.parse((await dekctl(['status', '--json', ...agent.flags])).stdout.toString());
  t.is(document.memory.slots_used, '3');
  t.is(document.keys[0].deks[0].age, '90s');
  t.is(document.started_at, '1970-01-01T00:00:00.000Z');
});
