/** Who a caller may be for a key. What each role may do stands in src/policy/. */
export type Role = 'user' | 'operator' | 'custodian' | 'auditor';

export type Profile = 'production' | 'development';

/** What a configuration file says, checked, with every default filled in. Deeply frozen: nothing changes it after loading. */
export interface Config {
  /** The file that it was read from; undefined for the built-in development configuration. */
  readonly file: string | undefined;
  readonly profile: Profile;
  readonly listen: { readonly agent: SocketConfig; readonly admin: SocketConfig };
  readonly memory: MemoryConfig;
  readonly limits: LimitsConfig;
  /** How long running calls may take to end when dekd stops. Default 10 s. */
  readonly drainMs: number;
  readonly log: { readonly level: LogLevel };
  readonly upstreams: ReadonlyMap<string, UpstreamConfig>;
  readonly keys: ReadonlyMap<string, KeyConfig>;
  /** The file of revoked keys and partitions (revocations.ts). */
  readonly revocations: string | undefined;
  /** Rules for what has no key yet. */
  readonly admin: readonly RuleConfig[];
  /** What is allowed and hardly meant, each with its place: for log, status and `dekd --check`. */
  readonly warnings: readonly string[];
}

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';

export interface SocketConfig {
  /** At most 107 bytes (the kernel's sun_path). */
  readonly path: string;
  /** Permission bits; default 0660 for the agent's socket, 0600 for the administration's. */
  readonly mode: number;
  /** Group that the socket file is given to; undefined leaves dekd's own. */
  readonly gid: number | undefined;
}

export interface LimitsConfig {
  /** Longest gRPC message in bytes; default and at most 4 MiB. */
  readonly messageBytes: number;
  /** Calls that callers' misses may cause at upstreams other than `local`. Default 100 a second and 1,000 at once; 500 and 5,000. */
  readonly upstreamCalls: { readonly perPrincipal: CallRateConfig; readonly perKey: CallRateConfig };
}

export interface CallRateConfig {
  readonly perSecond: number;
  /** At once, after a pause. */
  readonly burst: number;
}

export interface MemoryConfig {
  /** Default `required`; in the development profile `best-effort`. */
  readonly lock: 'required' | 'best-effort';
  /** Default 8 MiB. */
  readonly sizeBytes: number;
}

export type UpstreamConfig = LocalConfig | VaultTransitConfig | AwsKmsConfig | Pkcs11Config;

export interface LocalConfig {
  readonly type: 'local';
  readonly directory: string;
  readonly rootKey: RootKeyConfig;
  /** The operator's word that the directory outlives the pod. Default false. */
  readonly durable: boolean;
  readonly schedule: ScheduleConfig;
  /** Settings of single KEKs, by name. */
  readonly keks: ReadonlyMap<string, KekConfig>;
}

/** A credential is the name of a file in systemd's $CREDENTIALS_DIRECTORY. */
export type SecretPlace = { readonly file: string } | { readonly credential: string };

export type RootKeyConfig = SecretPlace | { readonly passphrase: SecretPlace } | { readonly development: true };

export interface ScheduleConfig {
  /** Age of a KEK version at which the next one is made; undefined: never. */
  readonly rotateAfterMs: number | undefined;
  /** Versions that are not archived; undefined: unlimited. */
  readonly maxVersions: number | undefined;
}

/** What one KEK has in place of its upstream's schedule. */
export interface KekConfig {
  readonly rotateAfterMs?: number;
  readonly maxVersions?: number;
  /** Unix milliseconds from which on it decrypts only. Default never. */
  readonly expiresAt?: number;
}

/** What every upstream has whose client runs in a child process. */
export interface ChildConfig {
  /** Default 1,000. */
  readonly maxCalls: number;
  /** Default 60 s. */
  readonly idleMs: number;
  /** Default true. */
  readonly warmChild: boolean;
  /** Default 256. */
  readonly memoryMib: number;
  /** Names of variables. Default none. */
  readonly environment: readonly string[];
}

export interface VaultTransitConfig extends ChildConfig {
  readonly type: 'vault-transit';
  /** Origins (`https://host:8200`) and `unix:/path`. */
  readonly addresses: readonly string[];
  readonly namespace?: string;
  readonly ca?: string;
  readonly serverName?: string;
  readonly login: VaultLoginConfig;
}

export type VaultLoginConfig =
  | { readonly method: 'token'; readonly file: string }
  | { readonly method: 'approle'; readonly roleIdFile: string; readonly secretIdFile: string; readonly mount: string }
  | { readonly method: 'kubernetes'; readonly role: string; readonly tokenFile: string; readonly mount: string }
  | { readonly method: 'proxy' };

export interface AwsKmsConfig extends ChildConfig {
  readonly type: 'aws-kms';
  /** Where multi-Region keys are asked for. */
  readonly region?: string;
  /** Origins. Default AWS's own. */
  readonly endpoint?: string;
  readonly stsEndpoint?: string;
  /** ARN of an IAM role. */
  readonly role?: string;
  readonly externalId?: string;
  /** KEK references of the keys that are aliases: refused when the upstream is opened, with what they mean. */
  readonly aliases: readonly string[];
}

export interface Pkcs11Config extends ChildConfig {
  readonly type: 'pkcs11';
  readonly modulePath: string;
  readonly pin: SecretPlace;
  /** Labels. Default every token with the label that a KEK names. */
  readonly tokens?: readonly string[];
  /** Sessions at one token on which calls work at the same time. */
  readonly maxSessions: number;
  readonly libraryParameters?: string;
  readonly origin?: 'unproven';
}

export interface KeyConfig {
  readonly name: string;
  readonly recipients: readonly RecipientConfig[];
  /** Retired KEKs that old ciphertexts may still name. */
  readonly decryptWith: readonly Omit<RecipientConfig, 'role'>[];
  /** Byte of the suite in the envelope: 1 XAES-256-GCM (default), 2 AES-256-GCM. */
  readonly suite: 1 | 2;
  readonly partitionBy: readonly string[];
  /** Default `all`: a new DEK is wrapped for every recipient. `any`: for those that answer. */
  readonly wrap: 'all' | 'any';
  readonly cache: CacheConfig;
  readonly allow: readonly RuleConfig[];
}

export interface RecipientConfig {
  /** Name of an upstream of the same configuration. */
  readonly upstream: string;
  /** KEK reference as written, e.g. `local:orders`; the upstream brings it into its normal form. */
  readonly kek: string;
  readonly role: 'authority' | 'standby' | 'recovery';
}

export interface CacheConfig {
  /** Default `session`. */
  readonly mode: 'none' | 'request' | 'session' | 'startup';
  /** How long a DEK may be used without asking the upstream again. Default 5 min. */
  readonly ttlMs: number;
  /** The time past ttl in which a DEK may serve while its upstream is unreachable. Default 1 h; Infinity in mode `startup`. */
  readonly graceMs: number;
  /** How long a DEK may encrypt. Default 24 h. */
  readonly rotateAfterMs: number;
  /** Messages that one DEK may encrypt. Default 10^9. */
  readonly maxMessages: number;
  /** Bytes that one DEK may encrypt. Default 1 TiB. */
  readonly maxBytes: number;
  /** DEKs held in memory for decryption. Default 1,000. */
  readonly maxDeks: number;
  /** Partitions that have an encrypting DEK in memory. Default 1,000. */
  readonly maxPartitions: number;
  /** What happens at ttl: `verify` unwraps again (default), `renew` makes a new DEK for lack of a right to decrypt. */
  readonly refresh: 'verify' | 'renew';
  /** Whether a new DEK must have been unwrapped once before it encrypts. Default true; false with `renew`. */
  readonly verifyWrap: boolean;
}

/** Grants roles to whoever has the uid, or the gid as primary or supplementary group. Exactly one of the two is set. */
export interface RuleConfig {
  readonly uid?: number;
  readonly gid?: number;
  readonly roles: readonly Role[];
  /** Narrows role `user` to these RPCs of KeyAgent. Default all of them. */
  readonly rpcs?: readonly string[];
  /** Role `user` may also decrypt what is archived. Default false. */
  readonly archived?: true;
}
