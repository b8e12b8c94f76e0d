import { kekName } from './names.ts';
import type { ParsedConfig, ParsedKey } from './schema.ts';
import type { Path, Problem } from './source.ts';

/** What a configuration may say and hardly means. Nothing of it keeps dekd from starting. */
export function configWarnings(config: ParsedConfig, nowMs: number): Problem[] {
  return [
    ...Object.entries(config.upstreams).flatMap(([name, upstream]) => scheduleWarnings(config, name, upstream, nowMs)),
    ...(config.profile === 'production' ? Object.entries(config.keys).flatMap(custodianWarnings) : []),
  ];
}

function scheduleWarnings(
  config: ParsedConfig,
  upstreamName: string,
  upstream: ParsedConfig['upstreams'][string],
  nowMs: number,
): Problem[] {
  if (upstream.type !== 'local') return [];
  const path: Path = ['upstreams', upstreamName];
  const warnings: Problem[] = [];
  for (const [name, { expires, max_versions: maxVersions }] of Object.entries(upstream.keks ?? {})) {
    const at: Path = [...path, 'keks', name];
    const keys = keysWith(config, upstreamName, name);
    if (expires !== undefined && expires <= nowMs) {
      const text = 'has passed: the KEK is archived and decrypts only, for rules with archived: true';
      warnings.push({ path: [...at, 'expires'], text });
    }
    if (expires !== undefined) warnings.push(...unread([...at, 'expires'], keys, 'the expired KEK'));
    if (maxVersions !== undefined) warnings.push(...unread([...at, 'max_versions'], keys, 'an archived version'));
  }
  if (upstream.max_versions !== undefined) {
    const keys = Object.entries(config.keys).filter(([, key]) => kekNames(key, upstreamName).length > 0);
    warnings.push(...unread([...path, 'max_versions'], keys, 'an archived version'));
  }
  return warnings;
}

type NamedKey = readonly [name: string, key: ParsedKey];

/** Nobody could decrypt what is archived there. */
function unread(path: Path, keys: readonly NamedKey[], archived: string): Problem[] {
  const closed = keys.filter(([, { allow }]) => !allow.some((rule) => rule.archived)).map(([name]) => name);
  if (closed.length === 0) return [];
  const text = `nobody may decrypt what ${archived} wrapped for ${closed.join(', ')}: no rule there says archived: true`;
  return [{ path, text }];
}

function keysWith(config: ParsedConfig, upstreamName: string, kek: string): NamedKey[] {
  return Object.entries(config.keys).filter(([, key]) => kekNames(key, upstreamName).includes(kek));
}

/** The names of a key's KEKs in one upstream, retired ones too. */
export function kekNames({ recipients, decrypt_with: retired }: ParsedKey, upstreamName: string): string[] {
  return [...recipients, ...retired].filter(({ upstream }) => upstream === upstreamName).map(({ kek }) => kekName(kek));
}

function custodianWarnings([name, { allow }]: NamedKey): Problem[] {
  const custodians = allow.filter((rule) => rule.roles.includes('custodian'));
  const uids = new Set(custodians.map((rule) => rule.uid));
  // Of a group nobody knows here how many it has.
  if (uids.has(undefined) || uids.size > 1) return [];
  const text =
    uids.size === 0
      ? 'no rule gives role custodian: nobody can enable, archive or delete this key'
      : `uid ${[...uids][0]} is its only custodian: deletion takes two, so that nobody can delete this key`;
  return [{ path: ['keys', name, 'allow'], text }];
}
