// The administration as its users do it: dekctl under the uids of operators and custodians against a real production agent, and what
// applications then meet.
import { chmodSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import { type Call, type Caller, type Callers, type CallOutcome, callersAt } from '../helpers/callers.ts';
import { dekctlAs, type Told } from '../helpers/dekctl-as.ts';
import { keyConfig, makePlace, type Place } from '../helpers/place.ts';
import { requireRoot } from '../helpers/require-root.ts';
import { test } from '../helpers/serial.ts';

const WHY = 'its callers are processes of other users';
const APP: Caller = { uid: 21_000 };
/** Its rule says `archived: true`. */
const ARCHIVIST: Caller = { uid: 21_001 };
const OPERATOR: Caller = { uid: 22_000 };
const CUSTODIAN: Caller = { uid: 22_001 };
const SECOND: Caller = { uid: 22_002 };
const AUDITOR: Caller = { uid: 22_003 };
const KEYS = ['orders', 'carts', 'tenants', 'records', 'doomed'];
const ACME = { tenant: 'acme' };
const BOLT = { tenant: 'bolt' };

const ALLOW = [
  { uid: APP.uid, roles: ['user'] },
  { uid: ARCHIVIST.uid, roles: ['user'], archived: true },
  { uid: OPERATOR.uid, roles: ['operator'] },
  { uid: CUSTODIAN.uid, roles: ['custodian'] },
  { uid: SECOND.uid, roles: ['custodian'] },
  { uid: AUDITOR.uid, roles: ['auditor'] },
];

interface World {
  readonly place: Place;
  readonly agent: Agent;
  /** dekctl as `caller`; fails the test unless it ends with `code`. */
  run(caller: Caller, args: string, code?: number): Told;
  readonly calls: Callers['data'];
  /** An envelope that the application made. */
  encrypted(key: string, context?: object): Promise<Buffer>;
}

/** A production agent in which every key has its KEK. */
async function production(t: ExecutionContext): Promise<World> {
  const place = makePlace(t);
  chmodSync(place.directory, 0o755);
  configure(place);
  const agent = await startAgent(t, place);
  const callers = callersAt(t, place);
  const made = await callers.admin(CUSTODIAN, ...KEYS.map((key): Call => ['CreateKey', { key }]));
  t.deepEqual(
    made.map(({ code }) => code),
    KEYS.map(() => 0),
  );
  return { agent, ...users(t, place, callers.data) };
}

/** `changes`: keys that differ from those with a KEK of their own name. */
function configure(place: Place, changes: Readonly<Record<string, object>> = {}): void {
  const keys = Object.fromEntries(KEYS.map((key) => [key, keyConfig(key, { allow: ALLOW })]));
  place.configure({
    profile: 'production',
    listen: {
      agent: { path: place.agentSocket, mode: '0666' },
      admin: { path: place.adminSocket, mode: '0666' },
    },
    keys: { ...keys, tenants: keyConfig('tenants', { allow: ALLOW, partition_by: ['tenant'] }), ...changes },
    admin: [
      { uid: CUSTODIAN.uid, roles: ['custodian'] },
      { uid: OPERATOR.uid, roles: ['operator'] },
    ],
  });
}

function users(t: ExecutionContext, place: Place, calls: Callers['data']): Omit<World, 'agent'> {
  return {
    place,
    calls,
    run: (caller, args, code = 0) => {
      const told = dekctlAs(place, caller, args.split(' '));
      t.is(told.code, code, `dekctl ${args}: ${told.stderr}`);
      return told;
    },
    encrypted: async (key, context = {}) => {
      const request = { key, plaintext: Buffer.from('text'), encryption_context: context };
      const [made] = await calls(APP, ['Encrypt', request]);
      t.is(made?.reason, '', made?.text);
      return made?.message.ciphertext;
    },
  };
}

const encrypt = (key: string, context: object = {}): Call => ['Encrypt', { key, encryption_context: context }];
const decrypt = (ciphertext: Buffer, context: object = {}): Call => [
  'Decrypt',
  { ciphertext, encryption_context: context },
];
const reasons = (outcomes: readonly CallOutcome[]): string[] =>
  outcomes.map(({ code, reason }) => (code === 0 ? 'OK' : reason));

test('disable refuses at once what is in memory too; only a custodian enables', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { run, calls, encrypted } = await production(t);
  const ciphertext = await encrypted('orders');
  const use = async () =>
    reasons(await calls(APP, encrypt('orders'), decrypt(ciphertext), ['GenerateDataKey', { key: 'orders' }]));
  t.deepEqual(await use(), ['OK', 'OK', 'OK']);
  t.is(
    run(OPERATOR, 'keys disable orders').stdout,
    'disabled orders: every use is refused from now on, DEKs zeroed: 1; back with: dekctl keys enable orders\n',
  );
  t.deepEqual(await use(), ['KEY_DISABLED', 'KEY_DISABLED', 'KEY_DISABLED']);
  t.deepEqual(reasons(await calls(APP, encrypt('carts'))), ['OK']);
  t.regex(run(AUDITOR, 'describe orders').stdout, /^state +disabled$/m);
  t.regex(run(OPERATOR, 'keys enable orders', 4).stderr, /^dekctl: POLICY_DENIED: uid 22000 .* may not call EnableKey/);
  t.is(run(CUSTODIAN, 'keys enable orders').stdout, 'enabled orders: it is active\n');
  t.deepEqual(await use(), ['OK', 'OK', 'OK']);
});

test('archived: nobody encrypts, and only a rule with `archived: true` decrypts', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { run, calls, encrypted } = await production(t);
  const ciphertext = await encrypted('records');
  run(CUSTODIAN, 'keys archive records');
  const use = async () => [
    ...reasons(await calls(APP, encrypt('records'), decrypt(ciphertext))),
    ...reasons(await calls(ARCHIVIST, encrypt('records'), decrypt(ciphertext))),
  ];
  t.deepEqual(await use(), ['KEY_ARCHIVED', 'KEY_ARCHIVED', 'KEY_ARCHIVED', 'OK']);
  // The same when its DEK must be fetched first.
  run(OPERATOR, 'flush records');
  t.deepEqual(await use(), ['KEY_ARCHIVED', 'KEY_ARCHIVED', 'KEY_ARCHIVED', 'OK']);
  t.regex(run(OPERATOR, 'keys rotate records', 7).stderr, /^dekctl: KEY_ARCHIVED: /);
  run(CUSTODIAN, 'keys enable records');
  t.deepEqual(await use(), ['OK', 'OK', 'OK', 'OK']);
});

test('a key ends when two custodians want it, and either can stop that', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { run, calls, encrypted } = await production(t);
  const ciphertext = await encrypted('doomed');
  const use = async () => reasons(await calls(APP, encrypt('doomed'), decrypt(ciphertext)));
  const schedule = 'keys schedule-deletion doomed --waiting-period 7d';
  t.is(
    run(CUSTODIAN, schedule).stdout,
    'uid 22001 asked to destroy doomed after 7d; nothing has changed yet: within 24 h another custodian must run the same: ' +
      'dekctl keys schedule-deletion doomed --waiting-period 7d\n',
  );
  // One person cannot do it alone, nor an operator help.
  t.regex(run(CUSTODIAN, schedule).stdout, /nothing has changed yet/);
  run(OPERATOR, schedule, 4);
  t.deepEqual(await use(), ['OK', 'OK']);
  t.regex(run(AUDITOR, 'keys describe doomed').stdout, /deletion +asked for by uid 22001, after 7d; waits for another/);
  t.regex(run(SECOND, 'keys schedule-deletion doomed', 2).stderr, /waiting_period: is 30 days, but uid 22001 asked/);
  t.regex(
    run(SECOND, schedule).stdout,
    /^doomed will be destroyed at 20\d\d-.*Z, as uid 22001, uid 22002 asked; until then every use is refused; stop it with: dekctl keys cancel-deletion doomed\n$/,
  );
  t.deepEqual(await use(), ['KEY_PENDING_DELETION', 'KEY_PENDING_DELETION']);
  t.regex(
    run(CUSTODIAN, 'keys enable doomed', 7).stderr,
    /^dekctl: KEY_PENDING_DELETION: .*cancel its deletion first\n$/,
  );
  t.is(
    run(SECOND, 'keys cancel-deletion doomed').stdout,
    'doomed will not be destroyed; it is disabled; back with: dekctl keys enable doomed\n',
  );
  t.deepEqual(await use(), ['KEY_DISABLED', 'KEY_DISABLED']);
  run(CUSTODIAN, 'keys enable doomed');
  t.deepEqual(await use(), ['OK', 'OK']);
});

test('one tenant is cut off and let in again, the other goes on', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { run, calls, encrypted } = await production(t);
  const [acme, bolt] = [await encrypted('tenants', ACME), await encrypted('tenants', BOLT)];
  const use = async () =>
    reasons(
      await calls(APP, encrypt('tenants', ACME), decrypt(acme, ACME), encrypt('tenants', BOLT), decrypt(bolt, BOLT)),
    );
  t.is(
    run(OPERATOR, 'partitions disable tenants --partition tenant=acme').stdout,
    'disabled tenant=acme of tenants: every use is refused from now on, DEKs zeroed: 1; back with: dekctl partitions enable\n',
  );
  t.deepEqual(await use(), ['KEY_DISABLED', 'KEY_DISABLED', 'OK', 'OK']);
  run(OPERATOR, 'partitions enable tenants --partition tenant=acme', 4);
  t.is(run(CUSTODIAN, 'partitions enable tenants --partition tenant=acme').stdout, 'enabled tenant=acme of tenants\n');
  t.deepEqual(await use(), ['OK', 'OK', 'OK', 'OK']);
});

test('a retired KEK ends by its name; the key that only decrypts with it goes on', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { place, agent, run, calls, encrypted } = await production(t);
  const ciphertext = await encrypted('orders');
  t.is((await agent.stop()).code, 0);
  const [recipient] = keyConfig('carts')['recipients'] as [object];
  const retired = [{ upstream: 'store', kek: 'local:orders' }];
  configure(place, { orders: keyConfig('orders', { allow: ALLOW, recipients: [recipient], decrypt_with: retired }) });
  await startAgent(t, place);
  const use = async () => reasons(await calls(APP, encrypt('orders'), decrypt(ciphertext)));
  t.deepEqual(await use(), ['OK', 'OK']);
  run(CUSTODIAN, 'keys archive orders --kek local:orders');
  t.deepEqual(await use(), ['OK', 'KEY_ARCHIVED']);
  t.deepEqual(reasons(await calls(ARCHIVIST, decrypt(ciphertext))), ['OK']);
  run(CUSTODIAN, 'keys disable orders --kek local:orders', 4);
  t.regex(
    run(OPERATOR, 'keys disable orders --kek local:orders').stdout,
    /^disabled KEK local:orders of orders \(the key is active\): what it wrapped is refused from now on, DEKs zeroed: 1; /,
  );
  t.deepEqual(await use(), ['OK', 'KEY_DISABLED']);
  run(CUSTODIAN, 'keys enable orders --kek local:orders');
  run(CUSTODIAN, 'keys enable orders --kek local:orders');
  t.deepEqual(await use(), ['OK', 'OK']);
  run(CUSTODIAN, 'keys schedule-deletion orders --kek local:orders');
  run(SECOND, 'keys schedule-deletion orders --kek local:orders');
  t.deepEqual(await use(), ['OK', 'KEY_PENDING_DELETION']);
  t.regex(
    run(CUSTODIAN, 'keys disable orders --kek local:absent', 4).stderr,
    /uid 22001 \(gid \d+\) may not call DisableKey on key "orders"/,
  );
  t.regex(
    run(OPERATOR, 'keys disable orders --kek local:absent', 2).stderr,
    /kek: is no KEK of key orders in a local upstream; write one of: local:[0-9a-f]{16}\/carts, local:[0-9a-f]{16}\/orders$/m,
  );
});

interface KeyCounters {
  readonly key: string;
  readonly counters: Readonly<Record<string, string>>;
}

test('flush sends the next call to the upstream, warm spares the first one the way', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { run, calls, encrypted } = await production(t);
  const counters = (key: string) => {
    const { keys } = JSON.parse(run(AUDITOR, 'status --json').stdout) as { keys: KeyCounters[] };
    return keys.find((one) => one.key === key)?.counters ?? {};
  };
  const ciphertext = await encrypted('orders');
  t.deepEqual(reasons(await calls(APP, decrypt(ciphertext))), ['OK']);
  t.like(counters('orders'), { decrypt_hits: '1', decrypt_misses: '0' });
  t.is(run(OPERATOR, 'flush').stdout, 'flushed carts, doomed, orders, records, tenants: DEKs zeroed: 1\n');
  t.deepEqual(reasons(await calls(APP, decrypt(ciphertext), decrypt(ciphertext))), ['OK', 'OK']);
  t.like(counters('orders'), { decrypt_hits: '2', decrypt_misses: '1' });
  run(CUSTODIAN, 'flush', 4);

  t.is(run(OPERATOR, 'warm tenants --partition tenant=acme').stdout, 'warmed tenants: DEKs made: 1\n');
  t.regex(run(OPERATOR, 'warm tenants --partition tenant=acme').stdout, /^nothing to do/);
  t.deepEqual(reasons(await calls(APP, encrypt('tenants', ACME))), ['OK']);
  t.like(counters('tenants'), { encrypt_hits: '1', encrypt_misses: '0' });
  t.regex(run(OPERATOR, 'warm tenants', 2).stderr, /partition: entry "tenant" is missing/);
});

test('describe shows every version, its age and state; the data keeps opening', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { run, calls, encrypted } = await production(t);
  const ciphertext = await encrypted('orders');
  run(OPERATOR, 'keys rotate orders');
  const text = run(AUDITOR, 'keys describe orders').stdout;
  t.regex(text, /^KEK +local:[0-9a-f]{16}\/orders \(authority, upstream store\)$/m);
  t.regex(text, /^ {2}version 1 +decrypt-only, made 20\d\d-\S+Z by uid 22001 \(\S+ ago\)$/m);
  t.regex(text, /^ {2}version 2 +active, made 20\d\d-\S+Z by uid 22000 /m);
  t.regex(text, /^ {2}state +active since 20\d\d-\S+Z by uid 22001$/m);
  const { keks } = JSON.parse(run(AUDITOR, 'keys describe orders --json').stdout);
  t.deepEqual(
    keks[0].versions.map(({ state }: { state: string }) => state),
    ['KEK_VERSION_STATE_DECRYPT_ONLY', 'KEK_VERSION_STATE_ACTIVE'],
  );
  t.deepEqual(reasons(await calls(APP, decrypt(ciphertext))), ['OK']);
});

test('re-encrypt moves data under another key, rewrap gives it today’s KEK version', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { run, calls, encrypted, place } = await production(t);
  const old = await encrypted('orders');
  const moved = dekctlAs(place, APP, ['re-encrypt', '--key', 'tenants', '--context', 'tenant=acme'], old);
  t.is(moved.code, 0, moved.stderr);
  const [opened] = await calls(APP, decrypt(Buffer.from(moved.stdout, 'latin1'), ACME));
  t.is(opened?.message.plaintext.toString(), 'text');
  t.is(opened?.message.key, 'tenants');

  run(OPERATOR, 'keys rotate orders');
  const rewrapped = dekctlAs(place, OPERATOR, ['rewrap'], old);
  t.deepEqual([rewrapped.code, rewrapped.stderr], [0, '']);
  const fresh = Buffer.from(rewrapped.stdout, 'latin1');
  t.notDeepEqual(fresh, old);
  t.is((await calls(APP, decrypt(fresh)))[0]?.message.plaintext.toString(), 'text');
  t.regex(dekctlAs(place, OPERATOR, ['rewrap'], fresh).stderr, /nothing to rewrap/);
  t.is(dekctlAs(place, APP, ['rewrap'], old).code, 4);
});

test('a backup is a file for its operator alone', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { run, place } = await production(t);
  chmodSync(place.directory, 0o777);
  const file = join(place.directory, 'store.backup');
  run(OPERATOR, `keystore backup --out ${file}`);
  t.is(readFileSync(file, 'latin1').slice(0, 15), 'SQLite format 3');
  t.deepEqual([statSync(file).mode & 0o777, statSync(file).uid], [0o600, OPERATOR.uid]);
  run(CUSTODIAN, `keystore backup --out ${file}.other`, 4);
});

test('a restart, also by SIGKILL, keeps every state and every request', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { agent, place, run, calls, encrypted } = await production(t);
  const [orders, records, acme] = [
    await encrypted('orders'),
    await encrypted('records'),
    await encrypted('tenants', ACME),
  ];
  run(OPERATOR, 'keys disable orders');
  run(CUSTODIAN, 'keys archive records');
  run(OPERATOR, 'partitions disable tenants --partition tenant=acme');
  run(CUSTODIAN, 'keys schedule-deletion carts');
  for (const custodian of [CUSTODIAN, SECOND]) run(custodian, 'keys schedule-deletion doomed');
  const states = async () => {
    const use = reasons(
      await calls(
        APP,
        decrypt(orders),
        decrypt(records),
        decrypt(acme, ACME),
        encrypt('doomed'),
        encrypt('tenants', BOLT),
      ),
    );
    const list = run(AUDITOR, 'keys list').stdout.split('\n');
    return { use, list: list.map((line) => line.replace(/ {2}XAES.*/, '')) };
  };
  const before = await states();
  t.deepEqual(before, {
    use: ['KEY_DISABLED', 'KEY_ARCHIVED', 'KEY_DISABLED', 'KEY_PENDING_DELETION', 'OK'],
    list: [
      'carts    active',
      'doomed   pending deletion',
      'orders   disabled',
      'records  archived',
      'tenants  active',
      '',
    ],
  });
  agent.kill('SIGKILL');
  await agent.exit();
  const second = await startAgent(t, place);
  t.deepEqual(await states(), before);
  t.is((await second.stop()).code, 0);
  await startAgent(t, place);
  t.deepEqual(await states(), before);
  t.deepEqual(reasons(await calls(ARCHIVIST, decrypt(records))), ['OK']);
  // The first custodian's request waited for the second through both.
  t.regex(
    run(SECOND, 'keys schedule-deletion carts').stdout,
    /^carts will be destroyed at .* as uid 22001, uid 22002 asked/,
  );
});

test('the log says who did what', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { agent, run } = await production(t);
  run(OPERATOR, 'keys disable orders');
  run(CUSTODIAN, 'keys enable orders');
  for (const custodian of [CUSTODIAN, SECOND]) run(custodian, 'keys schedule-deletion doomed');
  run(OPERATOR, 'flush carts');
  await agent.stop();
  const lines = agent
    .stderr()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const of = (event: string) => lines.filter((line) => line['event'] === event);
  t.like(of('key_changed'), [
    { key: 'orders', change: 'disable', state: 'disabled', by: 'uid 22000' },
    { key: 'orders', change: 'enable', state: 'active', by: 'uid 22001' },
  ]);
  t.like(of('kek_state').slice(0, 2), [{ state: 'disabled' }, { state: 'active' }]);
  t.like(of('deletion_requested'), [{ key: 'doomed', by: 'uid 22001' }]);
  t.like(of('deletion_scheduled'), [{ level: 40, key: 'doomed', by: 'uid 22002' }]);
  t.like(of('keyring_flushed'), [{ by: 'uid 22000', purgedDeks: 0 }]);
});
