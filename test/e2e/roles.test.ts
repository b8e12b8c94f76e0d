// Who may call what: every RPC of both services, each called by a process of every kind of user, and judged by a table written by hand from
// docs/configuration.md. Nothing here is taken from src/policy/, so that the two can disagree.
import { chmodSync, chownSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { startAgent } from '../helpers/agent-process.ts';
import { type Caller, type CallerProcess, type CallOutcome, startCaller } from '../helpers/callers.ts';
import { errorInfo, PROTOS } from '../helpers/client.ts';
import { keyConfig, makePlace, type Place } from '../helpers/place.ts';
import { requireRoot } from '../helpers/require-root.ts';
import { test } from '../helpers/serial.ts';

const WHY = 'its callers are processes of other users';
const AGENT = 'dekd.v1.KeyAgent';
const ADMIN = 'dekd.v1.KeyAdmin';
const DENIED = 7;
const UNIMPLEMENTED = 12;

const WRITERS = 23_000;
const OPERATORS = 23_001;
const CUSTODIANS = 23_002;
const MAKERS = 23_003;

/** The kinds of callers, each a process of its own. */
const CALLERS = {
  // Of key `orders`.
  user: { uid: 21_000 },
  narrowed: { uid: 21_001 },
  reader: { uid: 21_002 },
  member: { uid: 21_003, groups: [WRITERS] },
  operator: { uid: 22_000 },
  custodian: { uid: 22_001 },
  auditor: { uid: 22_002 },
  // Of what has no key.
  'admin-custodian': { uid: 22_003 },
  'admin-operator': { uid: 22_004 },
  'admin-auditor': { uid: 22_005 },
  // Of another key.
  'other-user': { uid: 21_010 },
  'other-operator': { uid: 22_010 },
  'other-custodian': { uid: 22_011 },
  // Roles that exclude each other, met in one caller through groups.
  'user+operator': { uid: 21_004, groups: [OPERATORS] },
  'operator+custodian': { uid: 22_006, gid: OPERATORS, groups: [CUSTODIANS] },
  'user+admin': { uid: 21_005, groups: [MAKERS] },
  // Named by no rule.
  stranger: { uid: 24_000, groups: [24_001] },
  root: { uid: 0 },
  self: { uid: 25_000 },
  overflow: { uid: 65_534, groups: [WRITERS, OPERATORS] },
} as const satisfies Record<string, Caller>;
type Name = keyof typeof CALLERS;

/** Makes, restores and takes part in what needs two; in no column. */
const KEEPER: Caller = { uid: 22_020 };

const ORDERS_RULES = [
  { uid: CALLERS.user.uid, roles: ['user'] },
  { uid: CALLERS.narrowed.uid, roles: ['user'], rpcs: ['Encrypt', 'DecryptBatch'] },
  { uid: CALLERS.reader.uid, roles: ['user'], rpcs: ['Decrypt'], archived: true },
  { gid: WRITERS, roles: ['user'] },
  { uid: CALLERS.operator.uid, roles: ['operator'] },
  { gid: OPERATORS, roles: ['operator'] },
  { uid: CALLERS.custodian.uid, roles: ['custodian'] },
  { gid: CUSTODIANS, roles: ['custodian'] },
  { uid: KEEPER.uid, roles: ['custodian'] },
  { uid: CALLERS.auditor.uid, roles: ['auditor'] },
  { uid: CALLERS['user+operator'].uid, roles: ['user'] },
  { uid: CALLERS['user+admin'].uid, roles: ['user'] },
];
const OTHER_RULES = [
  { uid: CALLERS['other-user'].uid, roles: ['user'] },
  { uid: CALLERS['other-operator'].uid, roles: ['operator'] },
  { uid: CALLERS['other-custodian'].uid, roles: ['custodian'] },
];
const ADMIN_RULES = [
  { uid: CALLERS['admin-custodian'].uid, roles: ['custodian'] },
  { uid: CALLERS['admin-operator'].uid, roles: ['operator'] },
  { uid: CALLERS['admin-auditor'].uid, roles: ['auditor'] },
  { gid: MAKERS, roles: ['custodian', 'auditor'] },
  { uid: KEEPER.uid, roles: ['custodian'] },
];

/** Each RPC on key `orders`, or without a key where it has none: who may call it. Whoever is not named is denied. */
const ALLOWED: Readonly<Record<string, readonly Name[]>> = {
  [`${AGENT}/Encrypt`]: ['user', 'narrowed', 'member', 'user+operator', 'user+admin'],
  [`${AGENT}/Decrypt`]: ['user', 'reader', 'member', 'user+operator', 'user+admin'],
  [`${AGENT}/GenerateDataKey`]: ['user', 'member', 'user+operator', 'user+admin'],
  [`${AGENT}/GenerateDataKeyWithoutPlaintext`]: ['user', 'member', 'user+operator', 'user+admin'],
  [`${AGENT}/ReEncrypt`]: ['user', 'member', 'user+operator', 'user+admin'],
  [`${AGENT}/EncryptBatch`]: ['user', 'member', 'user+operator', 'user+admin'],
  [`${AGENT}/DecryptBatch`]: ['user', 'narrowed', 'member', 'user+operator', 'user+admin'],
  [`${AGENT}/Rewrap`]: ['operator'],
  [`${AGENT}/DescribeKey`]: [
    ...(['user', 'narrowed', 'reader', 'member', 'operator', 'custodian', 'auditor'] as const),
    ...(['user+operator', 'user+admin'] as const),
  ],
  [`${ADMIN}/DescribeKey`]: ['operator', 'custodian', 'auditor'],
  [`${ADMIN}/RotateKey`]: ['operator'],
  [`${ADMIN}/DisableKey`]: ['operator'],
  [`${ADMIN}/DisablePartition`]: ['operator'],
  [`${ADMIN}/FlushKeyring`]: ['operator'],
  [`${ADMIN}/WarmKeyring`]: ['operator'],
  [`${ADMIN}/EnableKey`]: ['custodian'],
  [`${ADMIN}/EnablePartition`]: ['custodian'],
  [`${ADMIN}/ArchiveKey`]: ['custodian'],
  [`${ADMIN}/ScheduleKeyDeletion`]: ['custodian'],
  [`${ADMIN}/CancelKeyDeletion`]: ['custodian'],
  [`${ADMIN}/StartDrill`]: ['custodian'],
  [`${ADMIN}/StopDrill`]: ['custodian'],
  [`${ADMIN}/CreateKey`]: ['admin-custodian'],
  [`${ADMIN}/ReloadConfig`]: ['admin-operator'],
  [`${ADMIN}/BackupKeystore`]: ['admin-operator'],
  [`${ADMIN}/ListKeys`]: [
    ...(['operator', 'custodian', 'auditor', 'other-operator', 'other-custodian'] as const),
    ...(['admin-custodian', 'admin-operator', 'admin-auditor', 'user+admin'] as const),
  ],
  [`${ADMIN}/GetStatus`]: [
    ...(['operator', 'custodian', 'auditor', 'other-operator', 'other-custodian'] as const),
    ...(['admin-custodian', 'admin-operator', 'admin-auditor', 'user+admin'] as const),
  ],
};

/** Served by no version yet: whoever a rule names hears that, and the rest is denied unread as ever. */
const UNSERVED = ['ReloadConfig'];
const UNNAMED: readonly Name[] = ['stranger', 'root', 'self', 'overflow'];

test('the table has every RPC of both services and no other', (t) => {
  const declared = [AGENT, ADMIN].flatMap((service) =>
    Object.keys(PROTOS[service] ?? {}).map((rpc) => `${service}/${rpc}`),
  );
  t.true(declared.length >= 27);
  t.deepEqual(Object.keys(ALLOWED).sort(), declared.sort());
});

interface World {
  call(name: Name | 'keeper', rpc: string): Promise<CallOutcome>;
  /** State of the key and number of its KEK's versions, as its auditor sees them. */
  state(): Promise<string>;
}

const ends: (() => unknown)[] = [];
let started: Promise<World> | undefined;
test.after.always(async () => {
  for (const end of ends.reverse()) await end();
});

/** One production agent, running as a user of its own, and one process for each caller: shared by all tests of this file. */
function world(): Promise<World> {
  started ??= startWorld();
  return started;
}

async function startWorld(): Promise<World> {
  const teardown = { teardown: (end: () => unknown) => void ends.push(end) };
  const place = makePlace(teardown);
  const allow = (rules: readonly object[], partitioned: object) => ({ allow: rules, ...partitioned });
  place.configure({
    profile: 'production',
    listen: {
      agent: { path: place.agentSocket, mode: '0666' },
      admin: { path: place.adminSocket, mode: '0666' },
    },
    // Each key in an upstream of its own: a drill takes the custodian of every key in it.
    upstreams: { store: localUpstream(place, 'keystore'), spare: localUpstream(place, 'spare') },
    keys: {
      orders: keyConfig('orders', allow(ORDERS_RULES, { partition_by: ['tenant'] })),
      other: {
        ...keyConfig('other', allow(OTHER_RULES, {})),
        recipients: [{ upstream: 'spare', kek: 'local:other', role: 'authority' }],
      },
    },
    admin: ADMIN_RULES,
  });
  const { uid } = CALLERS.self;
  chmodSync(place.directory, 0o755);
  for (const path of [place.directory, place.rootKeyFile]) chownSync(path, uid, uid);
  await startAgent(teardown, place, { prefix: ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'] });
  const sockets = { [AGENT]: place.agentSocket, [ADMIN]: place.adminSocket };
  const processes = new Map<string, CallerProcess>();
  for (const [name, caller] of Object.entries({ ...CALLERS, keeper: KEEPER })) {
    const process = startCaller({ caller, sockets });
    processes.set(name, process);
    ends.push(() => process.end());
  }
  return new SharedWorld(processes);
}

function localUpstream({ directory, rootKeyFile }: Place, name: string): object {
  return { type: 'local', directory: join(directory, name), root_key: { file: rootKeyFile }, durable: true };
}

const A = { tenant: 'a' };
const B = { tenant: 'b' };

class SharedWorld implements World {
  readonly #processes: ReadonlyMap<string, CallerProcess>;
  #ciphertext: Promise<Buffer> | undefined;

  constructor(processes: ReadonlyMap<string, CallerProcess>) {
    this.#processes = processes;
  }

  async call(name: Name | 'keeper', method: string): Promise<CallOutcome> {
    const [service = '', rpc = ''] = method.split('/');
    const request = requests(await this.#sealed(), name)[rpc];
    if (request === undefined) throw new Error(`no request for ${rpc}`);
    const outcome = await this.#send(name, service, rpc, request);
    return rpc.endsWith('Batch') && outcome.code === 0 ? itemOutcome(outcome) : outcome;
  }

  async state(): Promise<string> {
    const { message } = await this.#send('auditor', ADMIN, 'DescribeKey', { key: 'orders' });
    return `${message.key.state}, ${message.keks[0].versions.length} versions`;
  }

  #send(name: string, service: string, rpc: string, request: object): Promise<CallOutcome> {
    const process = this.#processes.get(name);
    if (process === undefined) throw new Error(`no caller ${name}`);
    return process.call(service, rpc, request);
  }

  /** What callers ask to be decrypted; both keys have their KEK from then on. */
  #sealed(): Promise<Buffer> {
    this.#ciphertext ??= this.#seal();
    return this.#ciphertext;
  }

  async #seal(): Promise<Buffer> {
    for (const [key, upstream] of [
      ['orders', 'store'],
      ['other', 'spare'],
    ]) {
      const { code, text } = await this.#send('keeper', ADMIN, 'CreateKey', { key, upstream });
      if (code !== 0) throw new Error(text);
    }
    const request = { key: 'orders', plaintext: Buffer.from('mine'), encryption_context: A };
    const { message, text } = await this.#send('user', AGENT, 'Encrypt', request);
    if (message === undefined) throw new Error(text);
    return message.ciphertext;
  }
}

/** A batch is never denied as a whole; its one item may be. */
function itemOutcome({ message }: CallOutcome): CallOutcome {
  const [{ status, response }] = message.results;
  const { code, message: text, details } = status;
  return { code, reason: code === 0 ? '' : errorInfo(details).reason, text, message: response };
}

/** One good request for each RPC, so that a caller who may hears OK. Partition `b` is nobody's but the table's. */
function requests(ciphertext: Buffer, name: string): Readonly<Record<string, object>> {
  const key = { key: 'orders' };
  const seal = { ...key, encryption_context: A };
  const open = { ciphertext, encryption_context: A };
  return {
    Encrypt: { ...seal, plaintext: Buffer.from('x') },
    Decrypt: open,
    GenerateDataKey: seal,
    GenerateDataKeyWithoutPlaintext: seal,
    ReEncrypt: {
      ciphertext,
      source_encryption_context: A,
      destination_key: 'orders',
      destination_encryption_context: A,
    },
    Rewrap: { ciphertext },
    EncryptBatch: { items: [{ ...seal, plaintext: Buffer.from('x') }] },
    DecryptBatch: { items: [open] },
    DescribeKey: key,
    CreateKey: { key: `fresh-${name.replace('+', '-')}`, upstream: 'store' },
    ListKeys: {},
    RotateKey: key,
    DisableKey: key,
    EnableKey: key,
    ArchiveKey: key,
    ScheduleKeyDeletion: key,
    CancelKeyDeletion: key,
    DisablePartition: { ...key, partition: B },
    EnablePartition: { ...key, partition: B },
    FlushKeyring: key,
    WarmKeyring: { ...key, partition: A },
    BackupKeystore: { upstream: 'store' },
    GetStatus: {},
    StartDrill: { upstream: 'store', duration: { seconds: 60 } },
    StopDrill: { upstream: 'store' },
    ReloadConfig: {},
  };
}

type Step = readonly [Name | 'keeper', string];

/** What must have happened before, so that the call changes something, and what makes it undone. */
const AROUND: Readonly<Record<string, { readonly before?: Step; readonly after?: Step }>> = {
  DisableKey: { after: ['keeper', 'EnableKey'] },
  EnableKey: { before: ['operator', 'DisableKey'], after: ['keeper', 'EnableKey'] },
  ArchiveKey: { after: ['keeper', 'EnableKey'] },
  ScheduleKeyDeletion: { after: ['keeper', 'CancelKeyDeletion'] },
  CancelKeyDeletion: { before: ['keeper', 'ScheduleKeyDeletion'], after: ['keeper', 'CancelKeyDeletion'] },
  DisablePartition: { after: ['keeper', 'EnablePartition'] },
  EnablePartition: { before: ['operator', 'DisablePartition'], after: ['keeper', 'EnablePartition'] },
  StartDrill: { after: ['keeper', 'StopDrill'] },
  StopDrill: { before: ['keeper', 'StartDrill'] },
};

async function succeed(t: ExecutionContext, { call }: Pick<World, 'call'>, step: Step | undefined): Promise<void> {
  if (step === undefined) return;
  const [name, rpc] = step;
  const { code, text } = await call(name, `${ADMIN}/${rpc}`);
  t.is(code, 0, `${name} ${rpc}: ${text}`);
}

for (const [method, allowed] of Object.entries(ALLOWED)) {
  const rpc = method.split('/')[1] ?? '';
  test(`${method}: ${allowed.join(', ')}, and nobody else`, async (t) => {
    if (!requireRoot(t, WHY)) return;
    const shared = await world();
    const call = (name: Name | 'keeper', what: string) => shared.call(name, what);
    const { before, after } = AROUND[rpc] ?? {};
    for (const name of Object.keys(CALLERS) as Name[]) {
      await succeed(t, { call }, before);
      const previous = await shared.state();
      const { code, reason, text } = await shared.call(name, method);
      const found = `${code} ${reason}`;
      if (UNSERVED.includes(rpc) && !UNNAMED.includes(name)) t.is(code, UNIMPLEMENTED, `${name}: ${found} ${text}`);
      else if (allowed.includes(name)) t.is(found, '0 ', `${name}: ${text}`);
      else t.is(found, `${DENIED} POLICY_DENIED`, `${name}: ${text}`);
      if (!allowed.includes(name)) t.is(await shared.state(), previous, `${name} changed it`);
      else await succeed(t, { call }, after);
    }
    // What was prepared for those who might not is undone.
    if (before !== undefined) await succeed(t, { call }, after);
  });
}
