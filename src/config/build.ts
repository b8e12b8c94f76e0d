import type {
  AwsKmsConfig,
  CacheConfig,
  CallRateConfig,
  ChildConfig,
  Config,
  KekConfig,
  KeyConfig,
  LimitsConfig,
  LocalConfig,
  Pkcs11Config,
  RootKeyConfig,
  RuleConfig,
  SecretPlace,
  SocketConfig,
  UpstreamConfig,
  VaultLoginConfig,
  VaultTransitConfig,
} from './config.ts';
import { groupId } from './groups.ts';
import { type KekProblem, kekProblems } from './kek-problems.ts';
import { DEFAULT_GRACE_MS } from './key-schema.ts';
import type {
  ParsedAdminRule,
  ParsedAwsKms,
  ParsedConfig,
  ParsedKey,
  ParsedLocal,
  ParsedPkcs11,
  ParsedRule,
  ParsedSocket,
  ParsedUpstream,
  ParsedVaultTransit,
} from './schema.ts';
import type { Problem } from './source.ts';

const MIB = 2 ** 20;

export interface BuildOptions {
  readonly file: string | undefined;
  /** In the format of group(5). */
  readonly groupFile: string;
  readonly warnings: readonly string[];
  readonly kekProblem?: KekProblem | undefined;
}

/** The typed, deeply frozen value of a configuration that has the right form and makes sense, or what is wrong with its groups and KEKs. */
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
    limits: limitsConfig(parsed.limits),
    drainMs: parsed.drain,
    log: { level: parsed.log.level },
    upstreams: new Map(
      Object.entries(parsed.upstreams).map(([name, value]) => [name, upstreamConfig(name, value, parsed)]),
    ),
    keys: new Map(Object.entries(parsed.keys).map(([name, value]) => [name, keyConfig(name, value)])),
    revocations: parsed.revocations,
    admin: parsed.admin.map(ruleConfig),
    warnings: options.warnings,
  };
  if (options.kekProblem !== undefined) problems.push(...kekProblems(config, options.kekProblem));
  return problems.length > 0 ? problems : deepFreeze(config);
}

function limitsConfig({ message, upstream_calls: calls }: ParsedConfig['limits']): LimitsConfig {
  const callRate = ({ rate, burst }: typeof calls.per_key): CallRateConfig => ({ perSecond: rate, burst });
  return {
    messageBytes: message,
    upstreamCalls: { perPrincipal: callRate(calls.per_principal), perKey: callRate(calls.per_key) },
  };
}

function unknownGroup(socket: string, group: ParsedSocket['group']): Problem {
  return {
    path: ['listen', socket, 'group'],
    text: `no group is called ${group} on this machine; create it, or give its number`,
  };
}

function upstreamConfig(name: string, parsed: ParsedUpstream, { keys }: ParsedConfig): UpstreamConfig {
  switch (parsed.type) {
    case 'local':
      return localConfig(parsed);
    case 'vault-transit':
      return vaultTransitConfig(parsed);
    case 'aws-kms':
      return awsKmsConfig(parsed, aliases(name, keys));
    case 'pkcs11':
      return pkcs11Config(parsed);
  }
}

function childConfig(parsed: Exclude<ParsedUpstream, ParsedLocal>): ChildConfig {
  return {
    maxCalls: parsed.max_calls,
    idleMs: parsed.idle,
    warmChild: parsed.warm_child,
    memoryMib: Math.floor(parsed.memory / MIB),
    environment: parsed.environment,
  };
}

function vaultTransitConfig(parsed: ParsedVaultTransit): VaultTransitConfig {
  const { type, addresses, namespace, ca, server_name: serverName } = parsed;
  return {
    type,
    addresses,
    ...(namespace === undefined ? {} : { namespace }),
    ...(ca === undefined ? {} : { ca }),
    ...(serverName === undefined ? {} : { serverName }),
    login: vaultLogin(parsed.login),
    ...childConfig(parsed),
  };
}

/** The schema saw to it that exactly one is named. */
function vaultLogin({ token, approle, kubernetes }: ParsedVaultTransit['login']): VaultLoginConfig {
  if (token !== undefined) return { method: 'token', file: token.file };
  if (approle !== undefined) {
    const { role_id_file: roleIdFile, secret_id_file: secretIdFile, mount } = approle;
    return { method: 'approle', roleIdFile, secretIdFile, mount };
  }
  if (kubernetes === undefined) return { method: 'proxy' };
  const { role, token_file: tokenFile, mount } = kubernetes;
  return { method: 'kubernetes', role, tokenFile, mount };
}

function awsKmsConfig(parsed: ParsedAwsKms, aliases: readonly string[]): AwsKmsConfig {
  const { type, region, endpoint, sts_endpoint: stsEndpoint, role, external_id: externalId } = parsed;
  return {
    type,
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(stsEndpoint === undefined ? {} : { stsEndpoint }),
    ...(role === undefined ? {} : { role }),
    ...(externalId === undefined ? {} : { externalId }),
    aliases,
    ...childConfig(parsed),
  };
}

/** KEK references of an aws-kms upstream that are aliases. */
function aliases(upstreamName: string, keys: ParsedConfig['keys']): string[] {
  const keks = Object.values(keys).flatMap((key) => [...key.recipients, ...key.decrypt_with]);
  const own = keks.filter(({ upstream, kek }) => upstream === upstreamName && /:alias\//.test(kek));
  return [...new Set(own.map(({ kek }) => kek))];
}

function pkcs11Config(parsed: ParsedPkcs11): Pkcs11Config {
  const { type, module_path: modulePath, tokens, library_parameters: libraryParameters, origin } = parsed;
  return {
    type,
    modulePath,
    pin: secretPlace(parsed.pin),
    ...(tokens === undefined ? {} : { tokens }),
    maxSessions: parsed.max_sessions,
    ...(libraryParameters === undefined ? {} : { libraryParameters }),
    ...(origin === undefined ? {} : { origin }),
    ...childConfig(parsed),
  };
}

function localConfig(parsed: ParsedLocal): LocalConfig {
  return {
    type: parsed.type,
    directory: parsed.directory,
    rootKey: rootKeyConfig(parsed.root_key),
    durable: parsed.durable,
    schedule: { rotateAfterMs: parsed.rotate_after, maxVersions: parsed.max_versions },
    keks: new Map(Object.entries(parsed.keks ?? {}).map(([name, kek]) => [name, kekConfig(kek)])),
  };
}

/** The schema saw to it that exactly one source is named. */
function rootKeyConfig({ passphrase, development, ...place }: ParsedLocal['root_key']): RootKeyConfig {
  if (development !== undefined) return { development };
  return passphrase === undefined ? secretPlace(place) : { passphrase: secretPlace(passphrase) };
}

function secretPlace({ file, credential = '' }: NonNullable<ParsedLocal['root_key']['passphrase']>): SecretPlace {
  return file === undefined ? { credential } : { file };
}

function kekConfig(parsed: NonNullable<ParsedLocal['keks']>[string]): KekConfig {
  return {
    ...(parsed.rotate_after === undefined ? {} : { rotateAfterMs: parsed.rotate_after }),
    ...(parsed.max_versions === undefined ? {} : { maxVersions: parsed.max_versions }),
    ...(parsed.expires === undefined ? {} : { expiresAt: parsed.expires }),
  };
}

function keyConfig(name: string, parsed: ParsedKey): KeyConfig {
  return {
    name,
    recipients: parsed.recipients,
    decryptWith: parsed.decrypt_with,
    suite: parsed.suite,
    partitionBy: parsed.partition_by,
    wrap: parsed.wrap,
    cache: cacheConfig(parsed.cache),
    allow: parsed.allow.map(ruleConfig),
  };
}

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

function ruleConfig(parsed: ParsedRule | ParsedAdminRule): RuleConfig {
  const { uid, gid, roles } = parsed;
  const { rpcs, archived }: Partial<ParsedRule> = parsed;
  return {
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    roles,
    ...(rpcs === undefined ? {} : { rpcs }),
    ...(archived === true ? { archived } : {}),
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
