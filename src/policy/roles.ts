/** Who a caller may be for a key. Structurally the Role of src/config/. */
export type Role = 'user' | 'operator' | 'custodian' | 'auditor';

/** Which roles may call what on one key. The whole of "who may do what": nothing else in dekd grants anything. */
export const KEY_RPC_ROLES = {
  Encrypt: ['user'],
  Decrypt: ['user'],
  GenerateDataKey: ['user'],
  GenerateDataKeyWithoutPlaintext: ['user'],
  ReEncrypt: ['user'],
  EncryptBatch: ['user'],
  DecryptBatch: ['user'],
  Rewrap: ['operator'],
  DescribeKey: ['user', 'operator', 'custodian', 'auditor'],
  /** DescribeKey of the admin socket, which also tells labels and who did what. */
  AdminDescribeKey: ['operator', 'custodian', 'auditor'],
  RotateKey: ['operator'],
  DisableKey: ['operator'],
  DisablePartition: ['operator'],
  FlushKeyring: ['operator'],
  WarmKeyring: ['operator'],
  EnableKey: ['custodian'],
  EnablePartition: ['custodian'],
  ArchiveKey: ['custodian'],
  ScheduleKeyDeletion: ['custodian'],
  CancelKeyDeletion: ['custodian'],
  StartDrill: ['custodian'],
  StopDrill: ['custodian'],
  ListKeys: ['operator', 'custodian', 'auditor'],
  GetStatus: ['operator', 'custodian', 'auditor'],
} as const satisfies Record<string, readonly Role[]>;

/** Which roles of the `admin` rules may call what has no key yet. ListKeys and GetStatus then answer without the keys of others. */
export const ADMIN_RPC_ROLES = {
  CreateKey: ['custodian'],
  ReloadConfig: ['operator'],
  BackupKeystore: ['operator'],
  ListKeys: ['operator', 'custodian', 'auditor'],
  GetStatus: ['operator', 'custodian', 'auditor'],
} as const satisfies Record<string, readonly Role[]>;

export type KeyRpc = keyof typeof KEY_RPC_ROLES;
export type AdminRpc = keyof typeof ADMIN_RPC_ROLES;

/** No two of these on one key, save in the development profile: nobody may create and use, or rotate and destroy. */
export const EXCLUSIVE_ROLES: readonly Role[] = ['user', 'operator', 'custodian'];

/** One bit per RPC, so that a decision is a lookup and an AND. */
export const KEY_RPC_BITS: Readonly<Record<KeyRpc, number>> = bits(KEY_RPC_ROLES);
export const ADMIN_RPC_BITS: Readonly<Record<AdminRpc, number>> = bits(ADMIN_RPC_ROLES);

/** Beside the bits of a key's RPCs: what is archived may be decrypted. Below the sign, far above the RPCs. */
export const ARCHIVED_BIT = 1 << 30;

/** Every RPC of a table that one of `roles` may call, as bits. */
export function rolesMask<Rpc extends string>(
  table: Readonly<Record<Rpc, readonly Role[]>>,
  bitOf: Readonly<Record<Rpc, number>>,
  roles: readonly Role[],
): number {
  let mask = 0;
  for (const rpc of Object.keys(table) as Rpc[]) {
    if (table[rpc].some((role) => roles.includes(role))) mask |= bitOf[rpc];
  }
  return mask;
}

// Without a prototype: an RPC called `constructor` has no bit.
function bits<Rpc extends string>(table: Readonly<Record<Rpc, unknown>>): Readonly<Record<Rpc, number>> {
  const result = Object.create(null) as Record<Rpc, number>;
  for (const [index, rpc] of (Object.keys(table) as Rpc[]).entries()) result[rpc] = 1 << index;
  return Object.freeze(result);
}
