import { randomFillSync } from 'node:crypto';
import { secretBuffer } from '../../crypto/secret-buffer.ts';
import { CKM, type Mechanism, type MechanismParameter, OFFERS, STRUCTURE } from './cryptoki.ts';
import { KeyUnfit, PARAMETERS_REFUSED, returnValue } from './errors.ts';
import type { Work, WrapMechanism } from './mechanisms.ts';
import { decrypt, encrypt } from './seal.ts';
import type { GcmHabits } from './token.ts';

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const DEK_BYTES = 32;

/** AES-256-GCM, bound to the wrap context: nonce | DEK | tag. */
export const aesGcm: WrapMechanism = {
  algorithm: 5,
  name: 'AES-GCM',
  kind: 'aes',
  wrappedBytes: () => NONCE_BYTES + DEK_BYTES + TAG_BYTES,
  offered: (token, { allows }) => allows.encrypt && (token.offers(CKM.AES_GCM) & OFFERS.ENCRYPT) !== 0,
  opens: (token, { allows }) => allows.decrypt && (token.offers(CKM.AES_GCM) & OFFERS.DECRYPT) !== 0,
  begin: (work) => beginOpening(work, Buffer.from(randomFillSync(secretBuffer(NONCE_BYTES)))),
  async wrap(work, dek) {
    const { gcm } = work.token;
    if (gcm.nonce !== undefined) return seal(work, dek, gcm.nonce);
    try {
      return await seal(work, dek, 'agent');
    } catch (error) {
      if (!refusesParameters(error)) throw error;
      // A FIPS 140 module may take no nonce but its own (SP 800-38D section 8.2).
      return seal(work, dek, 'token');
    }
  },
  unwrap(work, wrapped) {
    const nonce = Buffer.from(wrapped.subarray(0, NONCE_BYTES));
    const sealed = wrapped.subarray(NONCE_BYTES);
    // SoftHSM asks for room for the tag too.
    return decrypt(work, () => beginOpening(work, nonce), sealed, [nonce, work.aad]);
  },
};

function beginOpening(work: Work, nonce: Buffer): void {
  const { token, session, key } = work;
  initialize(work, nonce, (mechanism) => token.cryptoki.C_DecryptInit(session.handle, mechanism, key.handle));
}

async function seal(work: Work, dek: Buffer, source: NonNullable<GcmHabits['nonce']>): Promise<Buffer> {
  const { cryptoki, gcm, label } = work.token;
  const { handle } = work.session;
  const nonce = secretBuffer(NONCE_BYTES);
  if (source === 'agent') randomFillSync(nonce);
  initialize(work, nonce, (mechanism) => cryptoki.C_EncryptInit(handle, mechanism, work.key.handle));
  // The nonce too: a token that gives its own may write it as late as here.
  const sealed = await encrypt(work, dek, Buffer.alloc(DEK_BYTES + TAG_BYTES), [nonce, work.aad]);
  // A token with a nonce of its own writes it where ours was. What was sealed under zeros is never handed out.
  if (nonce.every((byte) => byte === 0) || sealed.length !== DEK_BYTES + TAG_BYTES) {
    throw new KeyUnfit(`token ${label}: its AES-GCM gives no nonce of 12 bytes and tag of 16`);
  }
  gcm.nonce = source;
  return Buffer.concat([nonce, sealed]);
}

/** Tries the layouts of CK_GCM_PARAMS until the token takes one, and stays with that. */
function initialize(work: Work, nonce: Buffer, start: (mechanism: Mechanism) => void): void {
  const { gcm } = work.token;
  const candidates = gcm.layout === undefined ? [0, 1] : [gcm.layout];
  for (const layout of candidates) {
    try {
      start({ mechanism: CKM.AES_GCM, parameter: LAYOUTS[layout]!(nonce, work.aad) });
      gcm.layout = layout;
      return;
    } catch (error) {
      if (!refusesParameters(error) || layout === candidates.at(-1)) throw error;
    }
  }
}

const LAYOUTS: readonly ((iv: Buffer, aad: Buffer) => MechanismParameter)[] = [
  // PKCS#11 v2.40 errata and v3.0: with ulIvBits. pkcs11js's plain AES_GCM leaves that field uninitialized.
  (iv, aad) => ({ type: STRUCTURE.AES_GCM_V240, iv, ivBits: NONCE_BYTES * 8, aad, tagBits: TAG_BYTES * 8 }),
  // v2.30 drafts and the text of v2.40: without. pkcs11js has no name for it, but CK_GOSTR3410_KEY_WRAP_PARAMS is the same in memory: pointer,
  // length, pointer, length, CK_ULONG.
  (iv, aad) => ({ type: STRUCTURE.GOSTR3410_KEY_WRAP, wrapOID: iv, ukm: aad, key: unsignedLong(TAG_BYTES * 8) }),
];

function unsignedLong(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function refusesParameters(error: unknown): boolean {
  return PARAMETERS_REFUSED.includes(returnValue(error) ?? 0);
}
