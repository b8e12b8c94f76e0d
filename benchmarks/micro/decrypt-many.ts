/**
 * A hit at the API layer, without socket: what it costs that 10,000 DEKs are in use and not one. Envelopes are drawn at random; every request
 * is a fresh object with fresh bytes, made in small batches before the clock runs, as a request is that has just come from the socket. One
 * DEK and 10,000 take turns batch by batch. Beside it, Encrypt: 256 bytes and a context of two entries.
 */
import { randomBytes } from 'node:crypto';
import type { Call } from '../../src/api/call.ts';
import { decrypt } from '../../src/api/decrypt.ts';
import { encrypt } from '../../src/api/encrypt.ts';
import type { Parts } from '../../src/api/parts.ts';
import { createKey, openArena, type SlotHandle, unwrapKey, wrapKey } from '../../src/crypto/native.ts';
import { systemClock } from '../../src/keyring/clock.ts';
import type { KeyringEvents } from '../../src/keyring/events.ts';
import { Kek } from '../../src/keyring/kek.ts';
import { Keyrings } from '../../src/keyring/keyrings.ts';
import type { CacheOptions } from '../../src/keyring/options.ts';
import { compilePolicy } from '../../src/policy/authorize.ts';
import type { Upstream } from '../../src/upstream/provider.ts';
import { type BenchmarkResult, median, row } from '../result.ts';

const DEKS = 10_000;
const BATCH = 50;
const BATCHES = 200;
const ROUNDS = 21;
const HOUR_MS = 3_600_000;
const NOTHING = Buffer.alloc(0);
const plaintext = randomBytes(256);

const cache: CacheOptions = {
  mode: 'session',
  ttlMs: HOUR_MS,
  graceMs: HOUR_MS,
  rotateAfterMs: 24 * HOUR_MS,
  maxMessages: 1e9,
  maxBytes: 2 ** 40,
  maxDeks: 20_000,
  maxPartitions: 20_000,
  refresh: 'verify',
  verifyWrap: false,
};

const quiet: KeyringEvents = {
  outage: () => undefined,
  recovery: () => undefined,
  refusalSeen: () => undefined,
  refusalPending: () => undefined,
  refusalConfirmed: () => undefined,
  refusalWithdrawn: () => undefined,
  rotationFailed: () => undefined,
  clockStepped: () => undefined,
};

const call: Call = {
  principal: { uid: 1000, gid: 1000, groups: [] },
  requestId: 'benchmark',
  signal: new AbortController().signal,
  wipeLater: () => undefined,
};

interface Message {
  readonly ciphertext: Uint8Array;
  readonly tenant: string;
}

export async function run(): Promise<BenchmarkResult> {
  openArena({ size: 8 << 20, lock: 'best-effort' });
  const kek = new Kek('local:0123456789abcdef/orders', 'memory', memoryUpstream(createKey('raw')), systemClock);
  const writer = agent(kek);
  const many: Message[] = [];
  for (let at = 0; at < DEKS; at++) many.push(await seal(writer, `tenant-${String(at).padStart(6, '0')}`));
  const one: Message[] = [];
  for (let at = 0; at < DEKS; at++) one.push(await seal(writer, many[0]!.tenant));
  writer.keyrings.close();

  const reader = agent(kek);
  for (const message of many) await decrypt(decryptRequest(message), call, reader);

  await seal(reader, 'tenant-000000');
  const contenders: readonly [make: () => unknown, use: (request: never) => unknown][] = [
    [() => decryptRequest(drawn(one)), (request) => decrypt(request, call, reader)],
    [() => decryptRequest(drawn(many)), (request) => decrypt(request, call, reader)],
    [encryptRequest, (request) => encrypt(request, call, reader)],
  ];
  const rounds: number[][] = [];
  for (let round = -3; round < ROUNDS; round++) {
    const elapsed = contenders.map(() => 0n);
    for (let batch = 0; batch < BATCHES; batch++) {
      contenders.forEach(([make, use], at) => {
        elapsed[at]! += timed(make, use);
      });
    }
    if (round >= 0) rounds.push(elapsed.map((nanoseconds) => Number(nanoseconds) / 1e3 / BATCHES / BATCH));
  }
  const held = reader.keyrings.byName('orders')!.decrypting.size;
  if (held !== DEKS) throw new Error(`${held} DEKs were cached, not ${DEKS}`);
  reader.keyrings.close();
  const [oneUs = 0, manyUs = 0, encryptUs = 0] = contenders.map((_, at) => median(rounds.map((times) => times[at]!)));
  return {
    name: 'hit at the API layer, 256 bytes, context of 2',
    rows: [
      row('Decrypt over 10,000 cached DEKs : over 1', manyUs, oneUs, 'µs', '≤ 1.3'),
      row('Encrypt : Decrypt', encryptUs, oneUs, 'µs'),
    ],
  };
}

function agent(kek: Kek): Parts {
  const keyrings = new Keyrings(systemClock, quiet);
  keyrings.add({
    name: 'orders',
    suite: 1,
    recipients: [{ kek, role: 'authority' }],
    decryptWith: [],
    partitionBy: ['tenant'],
    cache,
  });
  const rules = new Map([['orders', [{ uid: 1000, roles: ['user' as const] }]]]);
  const policy = compilePolicy({ keys: rules, admin: [], profile: 'production' });
  // The data calls have no business with administration.
  return { keyrings, policy, administration: undefined as unknown as Parts['administration'] };
}

async function seal(parts: Parts, tenant: string): Promise<Message> {
  const { ciphertext } = await encrypt(encryptRequest(tenant), call, parts);
  return { ciphertext, tenant };
}

function encryptRequest(tenant = 'tenant-000000'): Parameters<typeof encrypt>[0] {
  return {
    key: 'orders',
    plaintext: Buffer.from(plaintext),
    encryption_context: { tenant, table: 'orders' },
    associated_data: NOTHING,
    dry_run: false,
  };
}

function decryptRequest({ ciphertext, tenant }: Message): Parameters<typeof decrypt>[0] {
  return {
    ciphertext: Buffer.from(ciphertext),
    encryption_context: { tenant: fresh(tenant), table: 'orders' },
    associated_data: NOTHING,
    expected_key: '',
    dry_run: false,
  };
}

/** A string of its own, flat, as a decoder makes it: not the one that was put together long ago and lies in cold memory. */
function fresh(text: string): string {
  return Buffer.from(text).toString();
}

function drawn(messages: readonly Message[]): Message {
  return messages[Math.floor(Math.random() * messages.length)]!;
}

/** Nanoseconds that a batch takes; making its requests is not counted. */
function timed(make: () => unknown, use: (request: never) => unknown): bigint {
  const requests = Array.from({ length: BATCH }, make) as never[];
  const start = process.hrtime.bigint();
  for (const request of requests) use(request);
  return process.hrtime.bigint() - start;
}

function memoryUpstream(key: SlotHandle): Upstream {
  return {
    type: 'local',
    warnings: [],
    resolve: (reference) => reference,
    wrap: async (_kek, dek, { encoded }) => ({ kekVersion: '1', algorithm: 6, bytes: wrapKey(key, 1, dek, encoded) }),
    unwrap: async (_kek, { bytes }, { encoded }) => unwrapKey(key, 1, bytes, encoded, 'dek'),
    describe: () => Promise.reject(new Error('not asked for here')),
    close: async () => undefined,
  };
}

if (import.meta.main) {
  const result = await run();
  console.log(result.name);
  console.table(result.rows);
}
