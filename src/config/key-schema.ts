import { z } from 'zod';
import { choice, duration, flag, integer, leaf, list, map, size, text } from './leaves.ts';
import { kekReference, upstreamName } from './names.ts';
import { keyRule } from './rule-schema.ts';

const SECOND = 1000;
const HOUR = 3600 * SECOND;
const DAY = 24 * HOUR;

export const DEFAULT_GRACE_MS = HOUR;

const SUITES = { 1: 'XAES_256_GCM', 2: 'AES_256_GCM' } as const;

const kek = () => ({
  upstream: upstreamName().describe('Where the KEK lives.'),
  kek: kekReference().describe('The KEK. None stands in one key twice.'),
});

const recipient = map('a map with upstream, kek and role', {
  ...kek(),
  role: choice(['authority', 'standby', 'recovery']).describe(
    '`authority`: its refusal ends the use of a DEK; at least one is. `standby`: asked when no authority can be reached. `recovery`: wrapped for and never asked, for break-glass.',
  ),
}).describe('A KEK that every DEK of the key is wrapped for.');

const retired = map('a map with upstream and kek', kek()).describe(
  'A retired KEK that old ciphertexts may still name.',
);

const cache = map('a map of cache settings', {
  mode: choice(['none', 'request', 'session', 'startup'])
    .default('session')
    .describe(
      '`session` caches DEKs; `startup` also warms them before dekd is ready and has no bound on grace; `request` makes or unwraps one per call or batch, `none` one per operation: with an upstream other than `local` both need `limits.upstream_calls` for their traffic.',
    ),
  ttl: duration(SECOND, DAY)
    .default(300 * SECOND)
    .describe('How long a DEK may be used without asking the upstream again; not over `rotate_after`.'),
  grace: duration(0, DAY)
    .optional()
    .meta({ without: '`1h`; in mode `startup` unlimited, and not to be set' })
    .describe('The time past `ttl` in which a DEK may serve while its upstream cannot be reached.'),
  rotate_after: duration(SECOND, 365 * DAY)
    .default(DAY)
    .describe('How long a DEK may encrypt; it decrypts beyond.'),
  max_messages: integer(1, Number.MAX_SAFE_INTEGER)
    .default(1e9)
    .describe('Messages that one DEK may encrypt; with `AES_256_GCM` at most 2^32 (NIST SP 800-38D).'),
  max_bytes: size(2 ** 20, 2 ** 50)
    .default(2 ** 40)
    .describe('Bytes that one DEK may encrypt.'),
  max_deks: integer(1, 1_000_000).default(1000).describe('DEKs in memory for decryption.'),
  max_partitions: integer(1, 1_000_000).default(1000).describe('Partitions with an encrypting DEK in memory.'),
  refresh: choice(['verify', 'renew'])
    .default('verify')
    .describe(
      'At `ttl`: `verify` unwraps the DEK again; `renew` makes a new one, for agents without the right to decrypt.',
    ),
  verify_wrap: flag()
    .optional()
    .meta({ without: '`true`; with `refresh: renew` `false`, and not to be set to `true`' })
    .describe('A new DEK must have been unwrapped once by each authority and standby before it encrypts.'),
}).describe('How long DEKs live, and how many.');

const partitionEntry = text(
  'the name of a context entry, 1 to 256 bytes, without the prefixes dekd: and aws:',
  /^(?!dekd:|aws:).{1,256}$/su,
);

export const key = map('a map with recipients and allow', {
  recipients: list('a list of at least one { upstream, kek, role }', recipient)
    .max(16, { error: 'at most 16 recipients' })
    .describe('The KEKs that DEKs are wrapped for; at most 16.'),
  decrypt_with: z
    .array(retired, { error: 'a list of { upstream, kek }' })
    .default([])
    .describe('KEKs that DEKs are no longer wrapped for.'),
  wrap: choice(['all', 'any'])
    .default('all')
    .describe(
      '`all`: a new DEK is wrapped for every recipient, or not made. `any`: recipients that cannot be reached, throttle or do not take dekd’s credentials are left out, as long as one authority or standby is not; DescribeKey and the status say which are missing, and Rewrap adds them. A refusal is never left out.',
    ),
  suite: leaf('XAES_256_GCM or AES_256_GCM', suiteByte, (suite) => SUITES[suite])
    .meta({ form: '`XAES_256_GCM` or `AES_256_GCM`' })
    .default(1)
    .describe('The cipher of new ciphertexts; those of the other stay readable.'),
  partition_by: z
    .array(partitionEntry, { error: 'a list of names of context entries' })
    .max(64, { error: 'at most 64 names of context entries' })
    .default([])
    .describe(
      'Entries of the encryption context whose values get DEKs of their own; at most 64. The values show up in ciphertexts and in the KMS’s log.',
    ),
  dek_scope: choice(['agent'], ' (shared comes in a later version)')
    .default('agent')
    .describe('Who shares a DEK: this agent alone. `shared` comes in a later version.'),
  cache: cache.prefault({}),
  allow: list('a list of at least one { uid or gid, roles }', keyRule()).describe('Rules for this key.'),
}).describe('A key that callers ask for. Its name is part of its ciphertexts for ever.');

function suiteByte(value: unknown): 1 | 2 | undefined {
  if (value === SUITES[1]) return 1;
  return value === SUITES[2] ? 2 : undefined;
}
