import { CKG_MGF1_SHA256, CKM, CKZ_DATA_SPECIFIED, type Mechanism, STRUCTURE } from './cryptoki.ts';
import type { WrapMechanism } from './mechanisms.ts';
import { beginUnder, canOpen, canSeal, openUnder, sealUnder } from './seal.ts';

/** RSA-OAEP (RFC 8017 section 7.1), SHA-256 for hash and MGF1, empty label. Whoever has the public key can wrap: `origin: unproven`. */
export const rsaOaep: WrapMechanism = {
  algorithm: 2,
  name: 'RSA-OAEP-SHA256',
  kind: 'rsa',
  wrappedBytes: ({ modulusBytes }) => modulusBytes,
  offered: (token, key) => canSeal(token, key, CKM.RSA_PKCS_OAEP),
  opens: (token, key) => canOpen(token, key, CKM.RSA_PKCS_OAEP),
  begin: (work) => beginUnder(work, OAEP),
  wrap: (work, dek) => sealUnder(work, OAEP, dek, work.key.modulusBytes),
  unwrap: (work, wrapped) => openUnder(work, OAEP, wrapped),
};

const OAEP: Mechanism = {
  mechanism: CKM.RSA_PKCS_OAEP,
  parameter: { type: STRUCTURE.RSA_OAEP, hashAlg: CKM.SHA256, mgf: CKG_MGF1_SHA256, source: CKZ_DATA_SPECIFIED },
};
