import {
  ADMIN_RPC_BITS,
  type AdminRpc,
  ARCHIVED_BIT,
  EXCLUSIVE_ROLES,
  KEY_RPC_BITS,
  type KeyRpc,
  type Role,
} from './roles.ts';
import {
  adminMask,
  type Caller,
  type CompiledRule,
  compileRule,
  keyMask,
  matches,
  OVERFLOW_ID,
  type Rule,
} from './rule.ts';

export interface PolicyOptions {
  /** Rules by key name. A key without a rule that matches is closed. */
  readonly keys: ReadonlyMap<string, readonly Rule[]>;
  readonly admin: readonly Rule[];
  readonly profile: 'production' | 'development';
  /** dekd's own uid, default the process's: with root, it holds every role in the development profile, and none for free elsewhere. */
  readonly ownUid?: number;
}

/**
 * Decides who may do what. Not named = not allowed. One Caller object per connection makes a decision a lookup and an AND:
 * what it may do with a key is worked out once.
 */
export interface Policy {
  /** Does any rule name it? All that is asked of others can be denied unread. */
  knows(caller: Caller): boolean;
  /** May it call `rpc` on `key`? False for a key that the policy does not know, save for those who may see every key. */
  may(caller: Caller, rpc: KeyRpc, key: string): boolean;
  /** May it decrypt what is archived: a key, or what an archived version of its KEK wrapped? It still needs `may` for the call itself. */
  mayUseArchived(caller: Caller, key: string): boolean;
  /** May it call what has no key: CreateKey, ReloadConfig, BackupKeystore, ListKeys, GetStatus? */
  mayAdmin(caller: Caller, rpc: AdminRpc): boolean;
  /** Does a rule of `admin` name it? To such a caller GetStatus shows all upstreams. */
  administers(caller: Caller): boolean;
  /** May it call ListKeys at all? What it then sees is `visibleKeys`. */
  mayList(caller: Caller): boolean;
  /** The keys that ListKeys and GetStatus show it, in the order of their names. */
  visibleKeys(caller: Caller): readonly string[];
  /**
   * Every key is visible to it: only such a caller may hear KEY_NOT_FOUND. For all others a key that does not exist and one that they
   * may not see must look the same.
   */
  seesEveryKey(caller: Caller): boolean;
  /** A key that was made while dekd runs (development profile). Callers that are connected already see it. */
  addKey(name: string, rules: readonly Rule[]): void;
}

export function compilePolicy(options: PolicyOptions): Policy {
  return new CompiledPolicy(options);
}

/** What one caller may do: bits by key name, filled in as keys are asked for. */
interface Grants {
  readonly byKey: Map<string, number>;
  readonly admin: number;
}

const ALL = -1;

class CompiledPolicy implements Policy {
  readonly #keys = new Map<string, readonly CompiledRule[]>();
  readonly #admin: readonly CompiledRule[];
  readonly #development: boolean;
  readonly #ownUid: number;
  readonly #grants = new WeakMap<Caller, Grants>();

  constructor(options: PolicyOptions) {
    for (const [name, rules] of options.keys) this.addKey(name, rules);
    this.#admin = options.admin.map(compileRule);
    this.#development = options.profile === 'development';
    this.#ownUid = options.ownUid ?? process.getuid?.() ?? OVERFLOW_ID;
  }

  knows(caller: Caller): boolean {
    if (this.#holdsEverything(caller)) return true;
    const named = (rules: readonly CompiledRule[]) => rules.some((rule) => matches(rule, caller));
    return named(this.#admin) || [...this.#keys.values()].some(named);
  }

  may(caller: Caller, rpc: KeyRpc, key: string): boolean {
    return (this.#maskOf(caller, key) & KEY_RPC_BITS[rpc]) !== 0;
  }

  mayUseArchived(caller: Caller, key: string): boolean {
    return (this.#maskOf(caller, key) & ARCHIVED_BIT) !== 0;
  }

  mayAdmin(caller: Caller, rpc: AdminRpc): boolean {
    if ((this.#grantsOf(caller).admin & ADMIN_RPC_BITS[rpc]) !== 0) return true;
    if (rpc !== 'ListKeys' && rpc !== 'GetStatus') return false;
    return this.visibleKeys(caller).length > 0;
  }

  administers(caller: Caller): boolean {
    return this.#grantsOf(caller).admin !== 0;
  }

  mayList(caller: Caller): boolean {
    return this.mayAdmin(caller, 'ListKeys');
  }

  visibleKeys(caller: Caller): readonly string[] {
    return [...this.#keys.keys()].filter((key) => this.may(caller, 'ListKeys', key)).sort();
  }

  seesEveryKey(caller: Caller): boolean {
    return (
      this.#holdsEverything(caller) || (this.#keys.size > 0 && this.visibleKeys(caller).length === this.#keys.size)
    );
  }

  addKey(name: string, rules: readonly Rule[]): void {
    this.#keys.set(name, rules.map(compileRule));
  }

  #maskOf(caller: Caller, key: string): number {
    return this.#grantsOf(caller).byKey.get(key) ?? this.#grant(caller, key);
  }

  #grantsOf(caller: Caller): Grants {
    const known = this.#grants.get(caller);
    if (known !== undefined) return known;
    const grants = { byKey: new Map<string, number>(), admin: this.#adminGrant(caller) };
    this.#grants.set(caller, grants);
    return grants;
  }

  #adminGrant(caller: Caller): number {
    if (this.#holdsEverything(caller)) return ALL;
    const roles = this.#admin.filter((rule) => matches(rule, caller)).flatMap((rule) => rule.roles);
    const mask = adminMask(roles);
    // Met in one caller, which the configuration cannot see: nobody makes or copies KEKs and uses keys. What an auditor sees stays.
    const separate = this.#development || !(conflict(roles) || this.#usesAnyKey(caller));
    return separate ? mask : mask & adminMask(['auditor']);
  }

  #usesAnyKey(caller: Caller): boolean {
    const uses = (rule: CompiledRule) => rule.roles.includes('user') && matches(rule, caller);
    return [...this.#keys.values()].some((rules) => rules.some(uses));
  }

  #grant(caller: Caller, key: string): number {
    if (this.#holdsEverything(caller)) return ALL;
    const rules = this.#keys.get(key);
    // Not remembered: the names that callers think of are without end.
    if (rules === undefined) return 0;
    const mask = this.#keyGrant(rules.filter((rule) => matches(rule, caller)));
    this.#grantsOf(caller).byKey.set(key, mask);
    return mask;
  }

  #keyGrant(rules: readonly CompiledRule[]): number {
    const roles = rules.flatMap((rule) => rule.roles);
    const users = rules.reduce((mask, rule) => mask | rule.userMask, 0);
    if (!this.#development && conflict(roles)) return weakest(roles, users);
    return users | keyMask(roles);
  }

  #holdsEverything(caller: Caller): boolean {
    return this.#development && caller.uid !== OVERFLOW_ID && (caller.uid === 0 || caller.uid === this.#ownUid);
  }
}

function conflict(roles: readonly Role[]): boolean {
  return EXCLUSIVE_ROLES.filter((role) => roles.includes(role)).length > 1;
}

/**
 * A uid rule and a group rule, or two group rules, met in one caller: the configuration cannot see that. It keeps `user`, so that an
 * application does not stop because of its groups, and otherwise nothing of what excludes each other.
 */
function weakest(roles: readonly Role[], users: number): number {
  return users | keyMask(roles.filter((role) => !EXCLUSIVE_ROLES.includes(role)));
}
