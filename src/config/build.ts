import type { CacheConfig, Config, KeyConfig, RuleConfig, SocketConfig, UpstreamConfig } from './config.ts';
import { groupId } from './groups.ts';
import type { ParsedConfig, ParsedKey, ParsedRule, ParsedSocket } from './schema.ts';
import type { Problem } from './source.ts';

export interface BuildOptions {
  readonly file: string | undefined;
  /** In the format of group(5). */
  readonly groupFile: string;
}

/** The typed, deeply frozen value of a configuration that has the right form and makes sense, or what is wrong with its groups. */
export function buildConfig(parsed: ParsedConfig, options: BuildOptions): Config | readonly Problem[] {
  const problems: Problem[] = [];
  const socket = (name: 'agent' | 'admin'): SocketConfig => {
    const { group, path, mode } = parsed.listen[name];
    const gid = typeof group === 'string' ? groupId(group, options.groupFile) : group;
    if (group !== undefined && gid === undefined) problems.push(unknownGroup(name, group));
    return { path, mode, gid };
  };
  const config: Config = {
    file: options.file,
    profile: parsed.profile,
    listen: { agent: socket('agent'), admin: socket('admin') },
    memory: {
      lock: parsed.memory.lock ?? (parsed.profile === 'development' ? 'best-effort' : 'required'),
      sizeBytes: parsed.memory.size,
    },
    limits: { messageBytes: parsed.limits.message },
    drainMs: parsed.drain,
    log: { level: parsed.log.level },
    upstreams: new Map(Object.entries(parsed.upstreams).map(([name, value]) => [name, upstreamConfig(value)])),
    keys: new Map(Object.entries(parsed.keys).map(([name, value]) => [name, keyConfig(name, value)])),
    admin: parsed.admin.map(ruleConfig),
  };
  return problems.length > 0 ? problems : deepFreeze(config);
}

function unknownGroup(socket: string, group: ParsedSocket['group']): Problem {
  return {
    path: ['listen', socket, 'group'],
    text: `no group is called ${group} on this machine; create it, or give its number`,
  };
}

function upstreamConfig(parsed: ParsedConfig['upstreams'][string]): UpstreamConfig {
  const { file } = parsed.root_key;
  return {
    type: parsed.type,
    directory: parsed.directory,
    rootKey: file === undefined ? { development: true } : { file },
    durable: parsed.durable,
  };
}

function keyConfig(name: string, parsed: ParsedKey): KeyConfig {
  return {
    name,
    recipients: parsed.recipients,
    decryptWith: parsed.decrypt_with,
    suite: parsed.suite,
    partitionBy: parsed.partition_by,
    cache: cacheConfig(parsed.cache),
    allow: parsed.allow.map(ruleConfig),
  };
}

const DEFAULT_GRACE_MS = 3_600_000;

function cacheConfig(parsed: ParsedKey['cache']): CacheConfig {
  return {
    mode: parsed.mode,
    ttlMs: parsed.ttl,
    graceMs: parsed.mode === 'startup' ? Number.POSITIVE_INFINITY : (parsed.grace ?? DEFAULT_GRACE_MS),
    rotateAfterMs: parsed.rotate_after,
    maxMessages: parsed.max_messages,
    maxBytes: parsed.max_bytes,
    maxDeks: parsed.max_deks,
    maxPartitions: parsed.max_partitions,
    refresh: parsed.refresh,
    verifyWrap: parsed.verify_wrap ?? parsed.refresh === 'verify',
  };
}

function ruleConfig(parsed: ParsedRule): RuleConfig {
  const { uid, gid, roles } = parsed;
  const rpcs = 'rpcs' in parsed ? parsed.rpcs : undefined;
  return {
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    roles,
    ...(rpcs === undefined ? {} : { rpcs }),
  };
}

/** Object.freeze leaves a Map open, so its ways of changing are shut too. */
function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  if (value instanceof Map) {
    for (const item of value.values()) deepFreeze(item);
    for (const method of ['set', 'delete', 'clear']) Object.defineProperty(value, method, { value: frozen });
  }
  for (const item of Object.values(value)) deepFreeze(item);
  return Object.freeze(value);
}

function frozen(): never {
  throw new TypeError('internal error: the configuration does not change');
}
