import {
  ADMIN_RPC_BITS,
  ADMIN_RPC_ROLES,
  ARCHIVED_BIT,
  KEY_RPC_BITS,
  KEY_RPC_ROLES,
  type Role,
  rolesMask,
} from './roles.ts';

/** Grants roles to whoever has the uid, or the gid as primary or supplementary group. */
export interface Rule {
  readonly uid?: number;
  readonly gid?: number;
  readonly roles: readonly Role[];
  /** Narrows role `user` to these RPCs (and DescribeKey). Default: all data calls. */
  readonly rpcs?: readonly string[];
  /** Role `user` of this rule may also decrypt what is archived. Default false. */
  readonly archived?: boolean;
}

/** Who is calling, as the kernel says: structurally the Principal of src/transport/. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

/** A rule with its roles turned into bits. */
export interface CompiledRule {
  /** -1 = the rule is about a group. */
  readonly uid: number;
  /** -1 = the rule is about a user. */
  readonly gid: number;
  readonly roles: readonly Role[];
  /** RPCs that role `user` may call through this rule, and ARCHIVED_BIT. */
  readonly userMask: number;
}

/** What the kernel gives for an id that has no mapping into this user namespace: it could be anybody. */
export const OVERFLOW_ID = 65_534;

export function compileRule(rule: Rule): CompiledRule {
  return {
    uid: rule.uid ?? -1,
    gid: rule.gid ?? -1,
    roles: rule.roles,
    userMask: rule.roles.includes('user') ? userMask(rule.rpcs) | (rule.archived === true ? ARCHIVED_BIT : 0) : 0,
  };
}

export function matches(rule: CompiledRule, caller: Caller): boolean {
  if (caller.uid === OVERFLOW_ID) return false;
  if (rule.uid >= 0) return rule.uid === caller.uid;
  return rule.gid >= 0 && rule.gid !== OVERFLOW_ID && (rule.gid === caller.gid || caller.groups.includes(rule.gid));
}

/** RPCs on a key for roles other than `user`, which rules may narrow. */
export function keyMask(roles: readonly Role[]): number {
  return rolesMask(
    KEY_RPC_ROLES,
    KEY_RPC_BITS,
    roles.filter((role) => role !== 'user'),
  );
}

export function adminMask(roles: readonly Role[]): number {
  return rolesMask(ADMIN_RPC_ROLES, ADMIN_RPC_BITS, roles);
}

function userMask(rpcs: readonly string[] | undefined): number {
  const all = rolesMask(KEY_RPC_ROLES, KEY_RPC_BITS, ['user']);
  if (rpcs === undefined) return all;
  let mask = KEY_RPC_BITS.DescribeKey;
  for (const rpc of rpcs) mask |= (KEY_RPC_BITS as Readonly<Record<string, number>>)[rpc] ?? 0;
  return mask & all;
}
