import { z } from 'zod';
import type { LogLevel, Role } from './config.ts';
import { choice, duration, flag, integer, leaf, list, map, mode, named, size, text } from './leaves.ts';

/** A key's name: part of its ciphertexts for ever. */
export const KEY_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** What a rule's `rpcs` may name: what role `user` may call. A test compares it with src/policy/. */
export const USER_RPCS = [
  'Encrypt',
  'Decrypt',
  'GenerateDataKey',
  'GenerateDataKeyWithoutPlaintext',
  'ReEncrypt',
  'EncryptBatch',
  'DecryptBatch',
  'DescribeKey',
] as const;

/** Upstreams that the design has and this version has not: refused by name. */
const LATER_UPSTREAMS = ['aws-kms', 'gcp-kms', 'azure-keyvault', 'vault-transit', 'pkcs11'];

const SECOND = 1000;
const HOUR = 3600 * SECOND;
const DAY = 24 * HOUR;
const MIB = 2 ** 20;

/** The kernel's id for "nobody in this namespace": it could be anybody, so no rule may name it. */
const OVERFLOW_ID = 65_534;
/** 2^32 - 1 is (uid_t) -1, which system calls read as "no change". */
const LAST_ID = 2 ** 32 - 2;

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const satisfies readonly LogLevel[];

const name = z.string().regex(KEY_NAME, {
  error: 'a name of 1 to 128 characters of A-Z a-z 0-9 . _ - that starts with a letter or digit',
});

const path = leaf('a path', (value) =>
  typeof value === 'string' && value !== '' && !value.includes('\0') ? value : undefined,
);

const socket = (defaultMode: number) =>
  map('a map with path, mode and group', {
    path,
    mode: mode().default(defaultMode),
    group: leaf('the name or number of a group', groupReference).optional(),
  });

const upstream = map('a map with type, directory and root_key', {
  type: leaf('local', (value) => (value === 'local' ? value : undefined)),
  directory: path,
  root_key: z
    .strictObject(
      { file: path.optional(), development: z.literal(true, { error: 'true' }).optional() },
      { error: rootKeyExpected },
    )
    .refine((key) => (key.file === undefined) !== (key.development === undefined), { error: rootKeyExpected }),
  durable: flag().default(false),
});

const kek = text('a KEK such as local:orders', /^local:(?:[0-9a-f]{16}\/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/);
const upstreamName = text('the name of one of the upstreams', KEY_NAME);

const recipient = map('a map with upstream, kek and role', {
  upstream: upstreamName,
  kek,
  role: choice(['authority', 'standby', 'recovery']),
});

const retired = map('a map with upstream and kek', { upstream: upstreamName, kek });

const cache = map('a map of cache settings', {
  mode: choice(['none', 'request', 'session', 'startup']).default('session'),
  ttl: duration(SECOND, DAY).default(300 * SECOND),
  grace: duration(0, DAY).optional(),
  rotate_after: duration(SECOND, 365 * DAY).default(DAY),
  max_messages: integer(1, Number.MAX_SAFE_INTEGER).default(1e9),
  max_bytes: size(MIB, 2 ** 50).default(2 ** 40),
  max_deks: integer(1, 1_000_000).default(1000),
  max_partitions: integer(1, 1_000_000).default(1000),
  refresh: choice(['verify', 'renew']).default('verify'),
  verify_wrap: flag().optional(),
});

const partitionEntry = text(
  'the name of a context entry, 1 to 256 bytes, without the prefixes dekd: and aws:',
  /^(?!dekd:|aws:).{1,256}$/su,
);

const key = map('a map with recipients and allow', {
  recipients: list('a list of at least one { upstream, kek, role }', recipient).max(16, {
    error: 'at most 16 recipients',
  }),
  decrypt_with: z.array(retired, { error: 'a list of { upstream, kek }' }).default([]),
  suite: leaf('XAES_256_GCM or AES_256_GCM', suiteByte).default(1),
  partition_by: list('a list of names of context entries', partitionEntry)
    .max(64, { error: 'at most 64 names of context entries' })
    .default([]),
  dek_scope: leaf('agent (shared comes in a later version)', (value) =>
    value === 'agent' ? value : undefined,
  ).default('agent'),
  cache: cache.prefault({}),
  allow: list('a list of at least one { uid or gid, roles }', rule(['user', 'operator', 'custodian', 'auditor'], true)),
});

export const schema = map('a map with profile, listen, upstreams and keys', {
  profile: choice(['production', 'development']),
  listen: map('a map with agent and admin', { agent: socket(0o660), admin: socket(0o600) }),
  memory: map('a map with lock and size', {
    lock: choice(['required', 'best-effort']).optional(),
    size: size(4096, 2 ** 28).default(8 * MIB),
  }).prefault({}),
  limits: map('a map with message', { message: size(MIB / 4, 4 * MIB).default(4 * MIB) }).prefault({}),
  drain: duration(0, HOUR).default(10 * SECOND),
  log: map('a map with level', { level: choice(LEVELS).default('info') }).prefault({}),
  upstreams: named('a map from names to upstreams', name, upstream),
  keys: named('a map from names to keys', name, key),
  admin: z
    .array(rule(['operator', 'custodian', 'auditor'], false), { error: 'a list of { uid or gid, roles }' })
    .default([]),
});

export type ParsedConfig = z.infer<typeof schema>;
export type ParsedKey = z.infer<typeof key>;
export type ParsedSocket = ParsedConfig['listen']['agent'];
export type ParsedRule = ParsedKey['allow'][number];

/** The upstream types of later versions, for an answer by name. */
export function isLaterUpstream(type: unknown): boolean {
  return LATER_UPSTREAMS.includes(String(type));
}

function rule(roles: readonly Role[], narrows: boolean) {
  const shape = {
    uid: id('user').optional(),
    gid: id('group').optional(),
    roles: list('a list of at least one role', choice(roles)),
  };
  const rpcs = list('a list of data calls', choice(USER_RPCS)).optional();
  return map('a map with uid or gid, and roles', narrows ? { ...shape, rpcs } : shape).refine(
    (value) => (value.uid === undefined) !== (value.gid === undefined),
    { error: 'exactly one of uid and gid' },
  );
}

function id(kind: string) {
  return leaf(`a ${kind} number from 0 to ${LAST_ID} other than ${OVERFLOW_ID} (it may be anybody)`, (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= LAST_ID && value !== OVERFLOW_ID
      ? value
      : undefined,
  );
}

function groupReference(value: unknown): string | number | undefined {
  if (typeof value === 'number') return Number.isInteger(value) && value >= 0 && value <= LAST_ID ? value : undefined;
  return typeof value === 'string' && /^[^\s:,]{1,256}$/.test(value) ? value : undefined;
}

function suiteByte(value: unknown): 1 | 2 | undefined {
  if (value === 'XAES_256_GCM') return 1;
  return value === 'AES_256_GCM' ? 2 : undefined;
}

function rootKeyExpected(issue: { code?: string | undefined }): string {
  return issue.code === 'unrecognized_keys'
    ? 'file development'
    : '{ file: PATH } or, in the development profile, { development: true }';
}
