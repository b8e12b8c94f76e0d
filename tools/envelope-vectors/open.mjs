/** Envelopes that a reader must open. */
import { ACME, LOCAL, makeBlock, openVector } from './build.mjs';
import { fixedBytes } from './primitives.mjs';

const EVERY_RECIPIENT = [
  { type: 1, algorithm: 6, uri: LOCAL, version: '7', kek: fixedBytes('kek local', 32) },
  {
    type: 2,
    algorithm: 1,
    uri: 'aws-kms:arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    version: '',
    length: 184,
  },
  {
    type: 3,
    algorithm: 1,
    uri: 'gcp-kms:projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k',
    version: '12',
    length: 113,
  },
  {
    type: 4,
    algorithm: 2,
    uri: 'azure-keyvault:https://vault.example/keys/orders',
    version: '0123456789abcdef0123456789abcdef',
    length: 256,
  },
  {
    type: 5,
    algorithm: 1,
    uri: 'vault-transit:team/transit/keys/orders',
    version: '3',
    wrapped: Buffer.from('vault:v3:bm90IGEgcmVhbCBjaXBoZXJ0ZXh0'),
  },
  { type: 6, algorithm: 3, uri: 'pkcs11:object=kw;token=hsm', version: '', kek: fixedBytes('kek kw', 32) },
  { type: 6, algorithm: 4, uri: 'pkcs11:object=kwp;token=hsm', version: '', kek: fixedBytes('kek kwp', 32) },
  { type: 6, algorithm: 5, uri: 'pkcs11:id=%01%FF;token=hsm', version: '', kek: fixedBytes('kek gcm', 32) },
  { type: 6, algorithm: 2, uri: 'pkcs11:object=rsa', version: '', length: 384 },
];
const ODD_KEYS = [
  ['\u{1F600}', 'U+1F600: after U+FF5E in UTF-8, before it in UTF-16'],
  ['\uFF5E', 'U+FF5E'],
  ['__proto__', 'a key like any other'],
  ['constructor', 'too'],
  ['\uFEFFtenant', 'a byte order mark is kept'],
  ['tenant', 'a prefix of tenants'],
  ['tenants', ''],
  ['e\u0301', 'decomposed'],
  ['\u00E9', 'composed: another key'],
  ['\0', 'NUL\0inside'],
];

export function payloadVectors() {
  const first = {
    dek: Buffer.from([...Array(32).keys()]),
    nonce: Buffer.from([...Array(24).keys()].map((byte) => byte + 0x40)),
  };
  const full = Array.from({ length: 64 }, (_, index) => [
    `key-${String(index).padStart(3, '0')}`,
    'v'.repeat(index === 0 ? 172 : 112),
  ]);
  const vectors = [
    openVector('first', { ...first, context: ACME, associatedData: 'row-1' }),
    openVector('first, no context, no associated data', first),
    openVector('odd context keys', { context: ODD_KEYS, associatedData: Buffer.from([0, 255, 254]) }),
    openVector('empty context value', { context: [['tenant', '']] }),
    openVector('64 entries, 8192 bytes of context', { context: full, associatedData: 'x' }),
    openVector('64 KiB of plaintext', { plaintext: fixedBytes('64 KiB', 65_536), context: ACME }),
    openVector('10,000 bytes of associated data', { associatedData: fixedBytes('associated data', 10_000) }),
  ];
  for (const suite of [1, 2]) {
    for (const content of [1, 2]) {
      const form = { suite, content, context: ACME, associatedData: 'row-1', plaintext: fixedBytes('payload', 32) };
      const block = { partition: [['tenant', 'acme']] };
      const name = `suite ${suite}, content ${content}`;
      vectors.push(
        openVector(`${name}, detached`, form),
        openVector(`${name}, detached, block given`, { ...form, block: { ...block, generation: 4 }, detached: true }),
        openVector(`${name}, inline`, { ...form, block }),
        openVector(`${name}, empty plaintext`, { ...form, block, plaintext: content === 1 ? '' : '\0' }),
      );
    }
  }
  return vectors;
}

export function blockVectors() {
  const block = { keyName: 'orders', partition: [['tenant', 'acme']], recipients: EVERY_RECIPIENT };
  const odd = ODD_KEYS.filter(([, value]) => value !== '');
  const sixteen = Array.from({ length: 16 }, (_, index) => ({ version: String(index) }));
  const padding = 16_384 - makeBlock(Buffer.alloc(32), { recipients: [{ algorithm: 1, length: 0 }] }).bytes.length;
  return [
    openVector('every recipient type and wrap algorithm', { block, context: ACME }),
    openVector('every recipient type and wrap algorithm, suite 2', { block, context: ACME, suite: 2, content: 2 }),
    openVector('partition with odd keys', {
      block: { partition: odd, recipients: EVERY_RECIPIENT.slice(0, 1) },
      context: ODD_KEYS,
    }),
    openVector('partition of two, wrapped', {
      block: { ...block, partition: ACME },
      context: [...ACME, ['zone', '1']],
    }),
    openVector('16 recipients', { block: { recipients: sixteen } }),
    openVector('largest block', { block: { recipients: [{ algorithm: 1, length: padding }] } }),
    openVector('largest numbers', { block: { created: 2 ** 53 - 1, generation: 2 ** 32 - 1 } }),
    openVector('created in 1970', { block: { created: 0 } }),
    openVector('longest key name', { block: { keyName: `A${'.'.repeat(42)}${'_'.repeat(42)}${'-'.repeat(43)}` } }),
    openVector('shortest key name', { block: { keyName: '0' } }),
    openVector('partition value of 256 bytes', {
      block: { partition: [['t', 'é'.repeat(128)]] },
      context: [['t', 'é'.repeat(128)]],
    }),
    openVector('same KEK URI, two versions', { block: { recipients: [{ version: '1' }, { version: '2' }] } }),
  ];
}
