/**
 * A hit at the API layer, without socket, in its own process: Decrypt over one DEK and over many, and Encrypt. 256 bytes and a context of two
 * entries.
 */
import { randomBytes } from 'node:crypto';
import type { Call } from '../../src/api/call.ts';
import { decrypt } from '../../src/api/decrypt.ts';
import { encrypt } from '../../src/api/encrypt.ts';
import type { Parts } from '../../src/api/parts.ts';
import { arenaStatus, createKey, openArena, type SlotHandle, unwrapKey, wrapKey } from '../../src/crypto/native.ts';
import { systemClock } from '../../src/keyring/clock.ts';
import { Kek } from '../../src/keyring/kek.ts';
import { Keyrings } from '../../src/keyring/keyrings.ts';
import type { CacheOptions } from '../../src/keyring/options.ts';
import { compilePolicy } from '../../src/policy/authorize.ts';
import type { Upstream } from '../../src/upstream/provider.ts';
import { silentEvents } from '../../test/fakes/silent-events.ts';
import { median } from '../result.ts';

const BATCH = 50;
const BATCHES = 200;
const ROUNDS = 21;
/** Messages of one DEK: enough that their bytes lie as far apart as those of many DEKs. */
const OF_ONE = 10_000;
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
  maxDeks: 200_000,
  maxPartitions: 200_000,
  refresh: 'verify',
  verifyWrap: false,
};

/** Its upstream is local, which costs nothing. */
const limits = { perPrincipal: { perSecond: 1, burst: 1 }, perKey: { perSecond: 1, burst: 1 } };

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

/** Microseconds that a hit costs; all three took turns. */
export interface Hits {
  readonly oneUs: number;
  readonly manyUs: number;
  readonly encryptUs: number;
}

/**
 * Envelopes of `deks` DEKs and of one of them, drawn at random; every request is a fresh object with fresh bytes, made in small batches before
 * the clock runs, as a request is that has just come from the socket. `inSlots` false = all DEKs but that one are in the second tier.
 */
export async function measureHits(deks: number, arenaBytes: number, inSlots = true): Promise<Hits> {
  openArena({ size: arenaBytes, lock: 'best-effort' });
  const kek = new Kek('local:0123456789abcdef/orders', 'memory', memoryUpstream(createKey('raw')), systemClock);
  const writer = agent(kek);
  const one: Message[] = [];
  for (let at = 0; at < OF_ONE; at++) one.push(await seal(writer, tenantOf(0)));
  const many = [one[0]!];
  for (let at = 1; at < deks; at++) many.push(await seal(writer, tenantOf(at)));
  writer.keyrings.close();

  const reader = agent(kek);
  await decrypt(decryptRequest(one[0]!), call, reader);
  if (!inSlots) fillSlots();
  for (const message of many) await decrypt(decryptRequest(message), call, reader);
  await seal(reader, tenantOf(0));
  check(reader, deks, inSlots);

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
  check(reader, deks, inSlots);
  reader.keyrings.close();
  const [oneUs = 0, manyUs = 0, encryptUs = 0] = contenders.map((_, at) => median(rounds.map((times) => times[at]!)));
  return { oneUs, manyUs, encryptUs };
}

/** What is measured is what was meant: nothing was evicted, and the DEKs are where they should be. */
function check(reader: Parts, deks: number, inSlots: boolean): void {
  const held = reader.keyrings.byName('orders')!.decrypting.size;
  const { sealed } = arenaStatus();
  if (held !== deks || (inSlots ? sealed > 0 : sealed < deks - 1)) {
    throw new Error(`${held} DEKs were cached, not ${deks}; ${sealed} sealed`);
  }
}

/** Takes the slots that DEKs may have, so that the next ones are sealed. */
function fillSlots(): void {
  while (arenaStatus().sealed === 0) createKey('dek');
}

function tenantOf(at: number): string {
  return `tenant-${String(at).padStart(6, '0')}`;
}

function agent(kek: Kek): Parts {
  const keyrings = new Keyrings(systemClock, silentEvents, limits);
  keyrings.add({
    name: 'orders',
    suite: 1,
    recipients: [{ kek, role: 'authority' }],
    decryptWith: [],
    partitionBy: ['tenant'],
    wrap: 'all',
    cache,
  });
  const rules = new Map([['orders', [{ uid: 1000, roles: ['user' as const] }]]]);
  const policy = compilePolicy({ keys: rules, admin: [], profile: 'production' });
  // The data calls have no business with administration, single ones none with items.
  const none = undefined as never;
  return { keyrings, policy, administration: none, itemStatus: none };
}

async function seal(parts: Parts, tenant: string): Promise<Message> {
  const { ciphertext } = await encrypt(encryptRequest(tenant), call, parts);
  return { ciphertext, tenant };
}

function encryptRequest(tenant = tenantOf(0)): Parameters<typeof encrypt>[0] {
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
