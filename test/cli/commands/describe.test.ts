import { status } from '@grpc/grpc-js';
import test from 'ava';
import { fakeAgent, refuse } from '../fake-agent.ts';
import { dekctl } from '../run.ts';

const span = (seconds: number) => ({ seconds, nanos: 0 });
const agent = fakeAgent(test, {
  DescribeKey: ({ key }) => {
    if (key === 'none') refuse(status.NOT_FOUND, 'there is no key "none"', 'KEY_NOT_FOUND');
    return {
      key,
      state: 'KEY_STATE_ACTIVE',
      suite: 'SUITE_XAES_256_GCM',
      ttl: span(300),
      grace: key === 'startup' ? null : span(3600),
      rotate_after: span(86_400),
      recipients: [
        {
          upstream: 'store',
          kek: 'local:x/orders',
          role: 'RECIPIENT_ROLE_AUTHORITY',
          origin_unproven: false,
          missing_deks: 0,
        },
        {
          upstream: 'hsm',
          kek: 'pkcs11:id=1',
          role: 'RECIPIENT_ROLE_RECOVERY',
          origin_unproven: true,
          missing_deks: 3,
        },
      ],
      partition_by: ['tenant'],
      partitions: 2,
      encrypting_deks: 2,
      decrypting_deks: 7,
      oldest_encrypting_dek_age: span(61),
      as_of: span(0),
    };
  },
});

test.serial('for people', async (t) => {
  const { stdout } = await dekctl(['describe', 'orders', ...agent.flags]);
  t.is(
    stdout.toString(),
    `key           orders
state         active
suite         XAES_256_GCM
recipient     local:x/orders (authority, upstream store)
recipient     pkcs11:id=1 (recovery, upstream hsm, origin unproven); 3 DEKs that encrypt lack it
partition by  tenant
ttl           5m
grace         1h
rotate after  1d
partitions    2 in memory
DEKs          2 encrypting, 7 decrypting
oldest DEK    61s
as of         1970-01-01T00:00:00.000Z
`,
  );
});

test.serial('grace without a bound', async (t) => {
  t.regex((await dekctl(['describe', 'startup', ...agent.flags])).stdout.toString(), /^grace +unlimited$/m);
});

test.serial('for programs', async (t) => {
  const document = JSON.parse((await dekctl(['describe', 'orders', '--json', ...agent.flags])).stdout.toString());
  t.is(document.ttl, '300s');
  t.is(document.as_of, '1970-01-01T00:00:00.000Z');
  t.is(document.decrypting_deks, '7');
  t.is(document.oldest_verification_age, null);
});

test.serial('a key that is not there', async (t) => {
  const { code, stderr } = await dekctl(['describe', 'none', ...agent.flags]);
  t.is(code, 7);
  t.is(stderr, 'dekctl: KEY_NOT_FOUND: there is no key "none"\n');
});
