import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { status as codes } from '@grpc/grpc-js';
import test, { type ExecutionContext } from 'ava';
import { fakeAgent, refuse } from '../fake-agent.ts';
import { cleanEnvironment, dekctl, run, sourcePath } from '../run.ts';

const span = (seconds: number) => ({ seconds, nanos: 0 });
const dek = (id: string, more: object = {}) => ({ dek_id: id.repeat(32), class: 'decrypting', age: span(1), ...more });
let calls = 0;
let failNext = false;
const agent = fakeAgent(test, {
  GetStatus: ({ page_token: token }) => {
    calls++;
    if (failNext) {
      failNext = false;
      refuse(codes.UNAVAILABLE, 'not now', 'UPSTREAM_UNAVAILABLE');
    }
    const first = token === '';
    return {
      version: '0.1.0',
      node_version: 'v26.10.0',
      profile: 'production',
      started_at: span(0),
      as_of: span(5),
      revocations: {
        file: '/etc/dekd/revocations.yaml',
        entries: 2,
        changed_at: span(3),
        sha256: 'ab'.repeat(32),
        looked_at: span(4),
      },
      memory: { kind: 'memfd_secret', size: 4096, slots: 16, slots_used: 3, sealed: 7, max_sealed: 100, free_raw: 13 },
      upstreams: [
        { upstream: 'store', type: 'local', state: 'ok', as_of: span(1), calls: 5, failures: 1, warnings: ['careful'] },
        { upstream: 'idle', type: 'local' },
        {
          upstream: 'vault',
          type: 'vault-transit',
          state: 'unreachable',
          as_of: span(4),
          since: span(2),
          breaker: 'open',
          last_failure: 'unreachable',
          last_failure_at: span(4),
          last_failure_message: 'connect ECONNREFUSED',
          drill: { failure_class: 'unreachable', ends_at: span(65) },
          child_pids: [71, 72],
        },
      ].map((upstream) => ({ since: span(1), ...upstream })),
      keys: [
        {
          key: 'orders',
          state: 'KEY_STATE_ACTIVE',
          cache_mode: 'session',
          deks: first
            ? [
                {
                  ...dek('ab'),
                  class: 'encrypting',
                  partition: { tenant: 'acme' },
                  age: span(90),
                  verification_age: span(2),
                  verified_by: 'standby',
                  messages: 12,
                  rotation_overdue: true,
                  refusal_pending: true,
                  in_grace: true,
                  archived: true,
                  rotation_in: span(60),
                },
                dek('cd', { verified_by: 'authority' }),
                ...Array.from({ length: 9 }, () => dek('cd')),
              ]
            : [dek('ef')],
          encrypting_deks: 1,
          decrypting_deks: 11,
          deks_in_grace: 1,
          rotations_overdue: 2,
          refusals_pending: 3,
          oldest_verification_age: span(7),
          grace_left: null,
          serves_until: span(125),
          last_serves_until: span(3_605),
          keks: [
            {
              upstream: 'vault',
              kek: 'vault-transit:transit/keys/orders',
              role: 'RECIPIENT_ROLE_AUTHORITY',
              state: 'unreachable',
              since: span(2),
              last_failure: 'unreachable',
              last_failure_at: span(4),
            },
            {
              upstream: 'store',
              kek: 'local:x/orders',
              role: 'RECIPIENT_ROLE_STANDBY',
              state: 'ok',
              since: span(1),
              last_failure: 'throttled',
              last_failure_at: span(0),
            },
            { upstream: 'store', kek: 'local:x/old' },
          ],
          counters: { hits: 3, misses: 0 },
        },
        { key: 'idle', state: 'KEY_STATE_DISABLED', cache_mode: 'none', deks: first ? [] : [dek('99')] },
      ],
      warnings: ['memory is short'],
      next_page_token: first ? '12' : '',
    };
  },
});

test.serial('for people: what is wrong, and the first DEKs', async (t) => {
  calls = 0;
  const { stdout } = await dekctl(['status', ...agent.flags]);
  const text = stdout.toString();
  t.true(
    text.startsWith(`dekd         0.1.0 on Node v26.10.0, profile production
started      1970-01-01T00:00:00.000Z
as of        1970-01-01T00:00:05.000Z
memory       memfd_secret, 4096 bytes, 3 of 16 slots used, 13 free for raw keys, second tier 7 of 100
revocations  2 in force since 1970-01-01T00:00:03.000Z, of /etc/dekd/revocations.yaml (sha256 abababababab…) as of 1970-01-01T00:00:04.000Z
warning      memory is short

OUTAGE    upstream vault: unreachable for 3s, since 1970-01-01T00:00:02.000Z: connect ECONNREFUSED; a drill (unreachable) for 60s more, until 1970-01-01T00:01:05.000Z
  orders  serves until 1970-01-01T00:02:05.000Z (2m more), the last DEK until 1970-01-01T01:00:05.000Z (60m more), if no upstream answers

upstream   store (local)
  state    ok as of 1970-01-01T00:00:01.000Z, since 1970-01-01T00:00:01.000Z
  calls    5, 1 failed
  warning  careful

upstream  idle (local)
  state   not called yet
  calls   0, 0 failed

upstream        vault (vault-transit)
  state         unreachable as of 1970-01-01T00:00:04.000Z, since 1970-01-01T00:00:02.000Z
  breaker       open: calls fail at once until a probe is answered
  drill         unreachable until 1970-01-01T00:01:05.000Z (60s more)
  last failure  unreachable at 1970-01-01T00:00:04.000Z: connect ECONNREFUSED
  calls         0, 0 failed
  children      71, 72

key           orders (active, cache session)
  KEK         vault-transit:transit/keys/orders (authority, upstream vault): unreachable since 1970-01-01T00:00:02.000Z
  KEK         local:x/orders (standby, upstream store): ok since 1970-01-01T00:00:01.000Z, last failure throttled at 1970-01-01T00:00:00.000Z
  KEK         local:x/old (decrypt_with, upstream store): not called yet
  serves      until 1970-01-01T00:02:05.000Z (2m more), the last DEK until 1970-01-01T01:00:05.000Z (60m more), if no upstream answers
  DEKs        1 encrypting, 11 decrypting, verified at most 7s ago, 1 in grace, 2 overdue for rotation, 3 with a refusal pending
  counters    hits=3
  encrypting  DEK abababababababab, tenant=acme, age 90s, verified 2s ago by standby, 12 messages, successor in 1m, in grace, archived, rotation overdue, refusal pending
  decrypting  DEK cdcdcdcdcdcdcdcd, age 1s, verified unknown ago, 0 messages
`),
    text,
  );
  t.true(
    text.endsWith(
      `  more        2 DEKs; --json lists all\n\nkey     idle (disabled, cache none)\n  DEKs  0 encrypting, 0 decrypting\n`,
    ),
  );
  t.is(calls, 1);
});

test.serial('for programs: the DEKs of every page', async (t) => {
  const document = JSON.parse((await dekctl(['status', '--json', ...agent.flags])).stdout.toString());
  t.is(document.memory.slots_used, '3');
  t.is(document.keys[0].deks[0].age, '90s');
  t.is(document.upstreams[0].since, '1970-01-01T00:00:01.000Z');
  t.deepEqual(
    document.keys.map(({ deks }: { deks: { dek_id: string }[] }) =>
      deks.map(({ dek_id: id }) => id.slice(0, 2)).join(),
    ),
    ['ab,cd,cd,cd,cd,cd,cd,cd,cd,cd,cd,ef', '99'],
  );
});

function watching(
  t: ExecutionContext,
  ...args: string[]
): { child: ChildProcess; lines: (count: number) => Promise<string> } {
  const command = [
    sourcePath('src/cli/dekctl.ts'),
    'status',
    '--watch',
    '--interval',
    '100ms',
    ...args,
    ...agent.flags,
  ];
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...command], {
    env: cleanEnvironment(),
  });
  t.teardown(() => child.kill('SIGKILL'));
  let text = '';
  let look = () => {};
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    look();
  });
  const lines = (count: number) =>
    new Promise<string>((resolve) => {
      look = () => {
        if (text.split('\n').length > count) resolve(text);
      };
      look();
    });
  return { child, lines };
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test.serial(`--watch --json: a document a line, until ${signal} ends it with 0`, async (t) => {
    const { child, lines } = watching(t, '--json');
    const [one = '', two = ''] = (await lines(2)).split('\n');
    t.is(JSON.parse(one).version, '0.1.0');
    t.is(JSON.parse(two).keys[0].deks.length, 12);
    child.kill(signal);
    t.deepEqual(await once(child, 'close'), [0, null]);
  });
}

test.serial('--watch goes on when the agent fails in between, and says so', async (t) => {
  const { child, lines } = watching(t, '--json');
  let errors = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  await lines(1);
  failNext = true;
  await lines(6);
  t.is(
    errors,
    'dekctl: note: UPSTREAM_UNAVAILABLE: not now; `dekctl status` says what failed, docs/outages.md what to do\n',
  );
  child.kill('SIGINT');
  await once(child, 'close');
});

test.serial('--watch ends at once when the first look fails', async (t) => {
  const { code, stderr } = await dekctl(['status', '--watch', '--admin-socket', '/nowhere/s']);
  t.is(code, 3);
  t.regex(stderr, /^dekctl: no agent listens on \/nowhere\/s;/);
  const interval = await dekctl(['status', '--watch', '--interval', 'soon', ...agent.flags]);
  t.is(interval.stderr, 'dekctl: --interval soon: expected a duration from 100ms to 1d, such as 2s\n');
  const often = await dekctl(['status', '--watch', '--interval', '0s', ...agent.flags]);
  t.deepEqual(
    [often.code, often.stderr],
    [2, 'dekctl: --interval 0s: expected a duration from 100ms to 1d, such as 2s\n'],
  );
  const once = await dekctl(['status', '--interval', '2s', ...agent.flags]);
  t.deepEqual([once.code, once.stderr], [2, 'dekctl: --interval: only with --watch\n']);
});

test.serial('on a terminal each look is drawn over the last one', async (t) => {
  const command = `timeout -s INT 5 "${process.execPath}" --disable-warning=ExperimentalWarning ${sourcePath('src/cli/dekctl.ts')} status --watch --interval 100ms ${agent.flags.join(' ')}`;
  const { stdout } = await run('script', ['-qec', command, '/dev/null']);
  const looks = stdout.toString().split('\u001b[H\u001b[J');
  t.true(looks.length > 2);
  t.is(looks[0], '');
  for (const look of looks.slice(1)) t.regex(look, /^dekd +0\.1\.0/);
});
