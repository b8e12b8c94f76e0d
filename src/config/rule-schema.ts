import type { z } from 'zod';
import type { Role } from './config.ts';
import { choice, flag, leaf, list, map } from './leaves.ts';

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

/** 2^32 - 1 is (uid_t) -1, which system calls read as "no change". */
export const LAST_ID = 2 ** 32 - 2;
/** The kernel's id for "nobody in this namespace": it could be anybody, so no rule may name it. */
const OVERFLOW_ID = 65_534;

/** A rule of a key. */
export function keyRule() {
  const shape = {
    ...identity(['user', 'operator', 'custodian', 'auditor']),
    rpcs: list('a list of data calls', choice(USER_RPCS))
      .optional()
      .meta({ without: 'all of them' })
      .describe('Narrows role `user` to these calls; DescribeKey is always among them.'),
    archived: flag()
      .default(false)
      .describe(
        'Role `user` may also decrypt what is archived: with an archived key, and ciphertexts whose KEK version is archived.',
      ),
  };
  return oneIdentity(map('a map with uid or gid, and roles', shape)).describe(
    'Who may do what with this key. Rules add up; who is not named may do nothing.',
  );
}

/** A rule for what has no key yet. */
export function adminRule() {
  const shape = identity(['operator', 'custodian', 'auditor']);
  return oneIdentity(map('a map with uid or gid, and roles', shape)).describe(
    'Who may call what has no key yet: CreateKey (`custodian`), ReloadConfig and BackupKeystore (`operator`).',
  );
}

function identity<const Known extends Role>(roles: readonly Known[]) {
  return {
    uid: id('user').optional().meta({ without: 'the rule has a `gid`' }).describe('The caller’s user.'),
    gid: id('group')
      .optional()
      .meta({ without: 'the rule has a `uid`' })
      .describe('The caller’s primary group or one of the supplementary ones.'),
    roles: list('a list of at least one role', choice(roles)).describe('What the caller is; see the roles above.'),
  };
}

interface Identity {
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

function oneIdentity<Rule extends z.ZodType<Identity>>(rule: Rule): Rule {
  return rule.refine((value) => (value.uid === undefined) !== (value.gid === undefined), {
    error: 'exactly one of uid and gid',
  });
}

function id(kind: string) {
  return leaf(`a ${kind} number from 0 to ${LAST_ID} other than ${OVERFLOW_ID} (it may be anybody)`, (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= LAST_ID && value !== OVERFLOW_ID
      ? value
      : undefined,
  );
}
