import { z } from 'zod';
import type { LogLevel } from './config.ts';
import { key } from './key-schema.ts';
import { choice, duration, integer, leaf, map, mode, named, size } from './leaves.ts';
import { name, path } from './names.ts';
import { adminRule, LAST_ID } from './rule-schema.ts';
import { upstream } from './upstream-schema.ts';

const SECOND = 1000;
const HOUR = 3600 * SECOND;
const MIB = 2 ** 20;

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const satisfies readonly LogLevel[];

const socket = (defaultMode: number, meaning: string) =>
  map('a map with path, mode and group', {
    path: path().describe(
      'The socket’s file: at most 107 bytes (the kernel’s limit), another one for each socket; in production absolute.',
    ),
    mode: mode().default(defaultMode).describe('Its permission bits.'),
    group: leaf('the name or number of a group', groupReference)
      .optional()
      .meta({ without: 'dekd’s own' })
      .describe('The group that it is given to. A name is looked up in /etc/group when the configuration is read.'),
  }).describe(meaning);

const calls = (rate: number, burst: number, meaning: string) =>
  map('a map with rate and burst', {
    rate: integer(1, 1_000_000).default(rate).describe('Upstream calls a second, in the long run.'),
    burst: integer(1, 1_000_000).default(burst).describe('Upstream calls at once, after a pause.'),
  })
    .prefault({})
    .describe(meaning);

const upstreamCalls = map('a map with per_principal and per_key', {
  per_principal: calls(100, 1000, 'What the misses of one caller (uid) may cost, whatever keys it uses.'),
  per_key: calls(500, 5000, 'What the misses with one key may cost, whoever calls.'),
})
  .prefault({})
  .describe(
    'Calls that callers’ misses may cause at upstreams other than `local`: an unwrap for a DEK that is not in memory, the wraps and unwraps that make one, a dry run’s question. In cache modes `none` and `request` that is each operation or request. What is beyond is QUOTA_EXCEEDED. Refreshes, rotations, confirmations of refusals and calls at the admin socket are not counted, except `DescribeKey` there, which leaves half of it to misses.',
  );

export const schema = map('a map with profile, listen, upstreams and keys', {
  profile: choice(['production', 'development']).describe('What each forbids and allows stands above.'),
  listen: map('a map with agent and admin', {
    agent: socket(0o660, 'The socket of the data calls, for applications.'),
    admin: socket(0o600, 'The socket of administration: another directory, another volume.'),
  }).describe('The two Unix sockets.'),
  memory: map('a map with lock and size', {
    lock: choice(['required', 'best-effort'])
      .optional()
      .meta({ without: '`required`; in the development profile `best-effort`' })
      .describe('`required`: refuse to start when memory cannot be locked; `best-effort`: go on with a warning.'),
    size: size(4096, 2 ** 28)
      .default(8 * MIB)
      .describe('Secret memory; about 256 bytes a DEK.'),
  })
    .prefault({})
    .describe('Where keys lie while they are in use.'),
  limits: map('a map with message and upstream_calls', {
    message: size(MIB / 4, 4 * MIB)
      .default(4 * MIB)
      .describe('The longest gRPC message.'),
    upstream_calls: upstreamCalls,
  })
    .prefault({})
    .describe('What a caller may send and cause.'),
  drain: duration(0, HOUR)
    .default(10 * SECOND)
    .describe('How long running calls may take to end when dekd stops.'),
  log: map('a map with level', {
    level: choice(LEVELS).default('info').describe('The least severe line that is written.'),
  })
    .prefault({})
    .describe('Lines of JSON on standard error.'),
  upstreams: named('a map from names to upstreams', name, upstream).describe('Services that hold KEKs; at least one.'),
  keys: named('a map from names to keys', name, key).describe('What callers ask for; at least one.'),
  revocations: path()
    .optional()
    .meta({ without: 'nothing is revoked' })
    .describe(
      'A file of revoked keys and partitions, looked at every second: [Revocations](#revocations). In production an absolute path.',
    ),
  admin: z
    .array(adminRule(), { error: 'a list of { uid or gid, roles }' })
    .default([])
    .describe('Rules for what has no key yet.'),
});

export type ParsedConfig = z.infer<typeof schema>;
export type ParsedKey = z.infer<typeof key>;
export type ParsedUpstream = z.infer<typeof upstream>;
export type ParsedLocal = Extract<ParsedUpstream, { type: 'local' }>;
export type ParsedVaultTransit = Extract<ParsedUpstream, { type: 'vault-transit' }>;
export type ParsedAwsKms = Extract<ParsedUpstream, { type: 'aws-kms' }>;
export type ParsedPkcs11 = Extract<ParsedUpstream, { type: 'pkcs11' }>;
export type ParsedSocket = ParsedConfig['listen']['agent'];
export type ParsedRule = ParsedKey['allow'][number];
export type ParsedAdminRule = ParsedConfig['admin'][number];

function groupReference(value: unknown): string | number | undefined {
  if (typeof value === 'number') return Number.isInteger(value) && value >= 0 && value <= LAST_ID ? value : undefined;
  return typeof value === 'string' && /^[^\s:,]{1,256}$/.test(value) ? value : undefined;
}
