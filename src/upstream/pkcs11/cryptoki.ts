// What dekd uses of PKCS#11 (OASIS PKCS #11 v3.0): the functions, in the shape that pkcs11js gives them, and the numbers of pkcs11t.h. So
// only binding.ts knows pkcs11js, and a test can stand in for it.

/** Of a slot, session or object. */
export type Handle = Buffer;

export interface Attribute {
  readonly type: number;
  readonly value?: number | boolean | string | Buffer;
}

export interface Mechanism {
  readonly mechanism: number;
  readonly parameter?: MechanismParameter | null;
}

/** `type` says which C structure pkcs11js makes of the rest. */
export type MechanismParameter = { readonly type: number } & Readonly<Record<string, number | Buffer>>;

/**
 * Every method throws, or rejects with, what errors.ts reads a return value from. Those with `Async` in their name are made in a thread of libuv's
 * pool; what they read and write must be kept alive until they settle (pace.ts). The rest are synchronous, since pkcs11js has no other form of them.
 */
export interface Cryptoki {
  load(path: string): void;
  C_Initialize(options: { flags: number; libraryParameters?: string }): void;
  C_Finalize(): void;
  C_GetInfo(): { readonly cryptokiVersion: { readonly major: number; readonly minor: number } };
  C_GetSlotList(tokenPresent: boolean): Handle[];
  /** `maxSessionCount`: 0 for as many as wanted, 2^32 - 1 when the token does not say. */
  C_GetTokenInfo(slot: Handle): { readonly label: string; readonly flags: number; readonly maxSessionCount: number };
  C_GetMechanismInfo(slot: Handle, mechanism: number): { readonly flags: number };
  C_OpenSession(slot: Handle, flags: number): Handle;
  C_CloseSession(session: Handle): void;
  C_GetSessionInfo(session: Handle): { readonly state: number };
  C_Login(session: Handle, userType: number, pin: string): void;
  C_FindObjectsInit(session: Handle, template: readonly Attribute[]): void;
  C_FindObjects(session: Handle, maxCount: number): Handle[];
  C_FindObjectsFinal(session: Handle): void;
  C_GetAttributeValue(
    session: Handle,
    object: Handle,
    template: { type: number }[],
  ): readonly { readonly type: number; readonly value?: Buffer | undefined }[];
  C_CreateObject(session: Handle, template: readonly Attribute[]): Handle;
  C_DestroyObject(session: Handle, object: Handle): void;
  C_EncryptInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  /** The part of `output` that was written. */
  C_Encrypt(session: Handle, input: Buffer, output: Buffer): Buffer;
  C_EncryptAsync(session: Handle, input: Buffer, output: Buffer): Promise<Buffer>;
  C_DecryptInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  /** The part of `output` that was written. */
  C_Decrypt(session: Handle, input: Buffer, output: Buffer): Buffer;
  C_DecryptAsync(session: Handle, input: Buffer, output: Buffer): Promise<Buffer>;
  /** The part of `output` that was written. */
  C_WrapKey(...args: WrapKeyArguments): Buffer;
  C_WrapKeyAsync(...args: WrapKeyArguments): Promise<Buffer>;
  C_UnwrapKey(...args: UnwrapKeyArguments): Handle;
  C_UnwrapKeyAsync(...args: UnwrapKeyArguments): Promise<Handle>;
}

type WrapKeyArguments = [session: Handle, mechanism: Mechanism, wrappingKey: Handle, key: Handle, output: Buffer];

type UnwrapKeyArguments = [
  session: Handle,
  mechanism: Mechanism,
  unwrappingKey: Handle,
  wrapped: Buffer,
  template: readonly Attribute[],
];

export const CKF_OS_LOCKING_OK = 0x02;
export const CKF_SERIAL_SESSION = 0x04;
export const CKU_USER = 1;

/** Flags of a token (CK_TOKEN_INFO). */
export const TOKEN = { LOGIN_REQUIRED: 0x04, USER_PIN_FINAL_TRY: 0x2_0000, USER_PIN_LOCKED: 0x4_0000 } as const;

/** States of a session in which its user is logged in (CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS). */
export const LOGGED_IN_STATES: readonly number[] = [1, 3];

/** Flags of a mechanism (CK_MECHANISM_INFO). */
export const OFFERS = { ENCRYPT: 0x100, DECRYPT: 0x200, WRAP: 0x2_0000, UNWRAP: 0x4_0000 } as const;

export const CKM = {
  RSA_PKCS_OAEP: 0x09,
  SHA256: 0x250,
  AES_GCM: 0x1087,
  AES_KEY_WRAP: 0x2109,
  AES_KEY_WRAP_PAD: 0x210a,
  AES_KEY_WRAP_KWP: 0x210b,
} as const;

export const CKG_MGF1_SHA256 = 2;
export const CKZ_DATA_SPECIFIED = 1;

export const CKO = { PUBLIC_KEY: 2, PRIVATE_KEY: 3, SECRET_KEY: 4 } as const;
export const CKK = { RSA: 0x00, GENERIC_SECRET: 0x10, AES: 0x1f } as const;

export const CKA = {
  CLASS: 0x00,
  TOKEN: 0x01,
  LABEL: 0x03,
  VALUE: 0x11,
  KEY_TYPE: 0x100,
  ID: 0x102,
  SENSITIVE: 0x103,
  ENCRYPT: 0x104,
  DECRYPT: 0x105,
  WRAP: 0x106,
  UNWRAP: 0x107,
  MODULUS: 0x120,
  EXTRACTABLE: 0x162,
} as const;

/** Numbers that pkcs11js gives to the C structures of mechanism parameters (its src/common.h). */
export const STRUCTURE = { RSA_OAEP: 4, AES_GCM_V240: 7, GOSTR3410_KEY_WRAP: 28 } as const;
