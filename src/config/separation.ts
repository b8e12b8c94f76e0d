import type { Role } from './config.ts';
import { kekIdentity } from './names.ts';
import type { ParsedAdminRule, ParsedConfig, ParsedKey, ParsedRule } from './schema.ts';
import type { Path, Problem } from './source.ts';

/** No two of these on one key outside development: nobody may create and use, or rotate and destroy. */
const EXCLUSIVE_ROLES: readonly Role[] = ['user', 'operator', 'custodian'];

/**
 * Roles that one id may not hold together in production. Rules of one id add up: on a key, on keys that share a KEK (who changes it through
 * one key changes it for all), and in `admin`. What the groups of a caller add only the kernel knows: src/policy/ checks that again, per
 * caller.
 */
export function separationProblems(config: ParsedConfig): Problem[] {
  const problems = adminProblems(config.admin);
  const office = new Holders();
  for (const rule of config.admin) office.add(rule, 'admin');
  const byKek = new Map<string, Holders>();
  for (const [name, key] of Object.entries(config.keys)) {
    const path: Path = ['keys', name, 'allow'];
    const own = keyProblems(path, key, office);
    // What one key contradicts is told once, and not again for each that shares its KEK.
    problems.push(...own, ...(own.length > 0 ? [] : sharedKekProblems(path, name, key, byKek)));
  }
  return problems;
}

/** Which of the exclusive roles each id holds, and where it got each first. */
class Holders {
  readonly #held = new Map<string, Map<Role, string>>();

  of(rule: Identity): ReadonlyMap<Role, string> {
    return this.#held.get(identityOf(rule)) ?? new Map();
  }

  /** Returns what the id of the rule holds from now on. */
  add(rule: ParsedRule | ParsedAdminRule, where: string): ReadonlyMap<Role, string> {
    const held = new Map(this.of(rule));
    for (const role of exclusive(rule.roles)) if (!held.has(role)) held.set(role, where);
    this.#held.set(identityOf(rule), held);
    return held;
  }
}

function adminProblems(admin: readonly ParsedAdminRule[]): Problem[] {
  const holders = new Holders();
  return admin.flatMap((rule, index) => {
    const held = listed(holders.add(rule, 'admin'));
    if (held.length < 2 || exclusive(rule.roles).length === 0) return [];
    const why = 'nobody makes KEKs and copies the keystore';
    return problem(['admin', index, 'roles'], rule, `holds ${held.join(' and ')} in admin`, why);
  });
}

function keyProblems(path: Path, { allow }: ParsedKey, office: Holders): Problem[] {
  const holders = new Holders();
  return allow.flatMap((rule, index) => {
    const held = listed(holders.add(rule, 'here'));
    const at: Path = [...path, index, 'roles'];
    if (held.length > 1 && exclusive(rule.roles).length > 0) {
      return problem(at, rule, `holds ${held.join(' and ')} on one key`, NOBODY);
    }
    const offices = listed(office.of(rule));
    if (!rule.roles.includes('user') || offices.length === 0) return [];
    const why = offices.includes('custodian') ? 'nobody creates and uses' : 'nobody uses keys and copies the keystore';
    return problem(at, rule, `uses this key and is ${offices.join(' and ')} in admin`, why);
  });
}

function sharedKekProblems(path: Path, name: string, key: ParsedKey, byKek: Map<string, Holders>): Problem[] {
  const problems: Problem[] = [];
  for (const kek of changedKeks(key)) {
    const holders = byKek.get(kek) ?? new Holders();
    byKek.set(kek, holders);
    for (const [index, rule] of key.allow.entries()) {
      const [role] = exclusive(rule.roles);
      const other = [...holders.of(rule)].find(
        ([held, where]) => role !== undefined && held !== role && where !== name,
      );
      holders.add(rule, name);
      if (other === undefined) continue;
      const holds = `holds ${role} here and ${other[0]} on key ${other[1]}, which has the same KEK`;
      problems.push(...problem([...path, index, 'roles'], rule, holds, NOBODY));
    }
  }
  return problems;
}

/** The KEKs that an operator or a custodian of the key acts on without naming one; who names another needs the right on every key that has it. */
function changedKeks({ recipients }: ParsedKey): string[] {
  return recipients
    .filter(({ role }) => role !== 'recovery')
    .map(({ upstream, kek }) => JSON.stringify([upstream, kekIdentity(kek)]));
}

function exclusive(roles: readonly Role[]): Role[] {
  return EXCLUSIVE_ROLES.filter((role) => roles.includes(role));
}

/** In the order of EXCLUSIVE_ROLES. */
function listed(held: ReadonlyMap<Role, string>): Role[] {
  return exclusive([...held.keys()]);
}

const NOBODY = 'nobody creates and uses, or rotates and destroys';

function problem(path: Path, rule: Identity, holds: string, why: string): [Problem] {
  return [{ path, text: `${identityOf(rule)} ${holds}; production wants different people (${why})` }];
}

interface Identity {
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

function identityOf(rule: Identity): string {
  return rule.uid === undefined ? `gid ${rule.gid}` : `uid ${rule.uid}`;
}
