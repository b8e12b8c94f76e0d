/** Envelopes that are malformed outside their partition: their MAC and payload are right wherever the fault allows. */
import { makeBlock, refuseVector } from './build.mjs';

export function malformedHeaders() {
  const refuse = (name, given, ...mentions) => refuseVector('malformed', name, given, mentions);
  const cut = (name, given, length, ...mentions) =>
    refuseVector('malformed', name, given, mentions, ({ envelope }) => ({ envelope: envelope.subarray(0, length) }));
  const block = {};
  return [
    cut('empty', {}, 0, 'empty'),
    cut('magic alone', {}, 4, 'header'),
    cut('header without its last byte', {}, 39, 'header'),
    cut('header alone', {}, 40, 'nonce and tag'),
    cut('suite 1 under 40 + 24 + 16', { plaintext: '' }, 79, 'nonce and tag', '80'),
    cut('suite 2 under 40 + 12 + 16', { plaintext: '', suite: 2 }, 67, 'nonce and tag', '68'),
    cut('inline, under 42 + L + N + 16', { plaintext: '', block }, -1, 'nonce and tag'),
    cut('inline, ends before L', { block }, 40, 'length of its dek-block'),
    cut('inline, ends inside L', { block }, 41, 'length of its dek-block'),
    cut('inline, ends inside the block', { block }, 100, 'nonce and tag'),
    refuse('magic in upper case', { header: { 0: 0x44 } }, 'not an envelope'),
    refuse('version 0', { header: { 4: 0 } }, 'version 0'),
    refuse('version 2', { header: { 4: 2 } }, 'version 2'),
    refuse('suite 0', { header: { 5: 0 } }, 'suite 0'),
    refuse('suite 3, reserved', { header: { 5: 3 } }, 'suite 3', 'XChaCha20-Poly1305', 'reserved'),
    refuse('suite 4, reserved', { header: { 5: 4 } }, 'suite 4', 'streams', 'reserved'),
    refuse('suite 4 with content 3, reserved', { header: { 5: 4, 6: 3 } }, 'suite 4', 'streams', 'reserved'),
    refuse('suite 5', { header: { 5: 5 } }, 'suite 5'),
    refuse('content 0', { header: { 6: 0 } }, 'content 0'),
    refuse('content 3, reserved', { header: { 6: 3 } }, 'content 3', 'streams', 'reserved'),
    refuse('content 4', { header: { 6: 4 } }, 'content 4'),
    refuse('flag bit 1, reserved', { header: { 7: 2 } }, 'flag bit 1', 'padding', 'reserved'),
    refuse('flag bits 0 and 1', { block, header: { 7: 3 } }, 'flag bit 1', 'padding', 'reserved'),
    refuse('flag bit 7', { header: { 7: 0x80 } }, 'flags 0x80'),
  ];
}

export function malformedBlocks() {
  const refuse = (name, block, ...mentions) => refuseVector('malformed', name, { block }, ['dek-block', ...mentions]);
  const whole = (name, given, ...mentions) => refuseVector('malformed', name, given, ['dek-block', ...mentions]);
  const length = makeBlock(Buffer.alloc(32), {}).bytes.length;
  const padding = 16_385 - makeBlock(Buffer.alloc(32), { recipients: [{ algorithm: 1, length: 0 }] }).bytes.length;
  const trailing = Buffer.alloc(1);
  const tooLong = { recipients: [{ algorithm: 1, length: padding }] };
  const seventeen = Array.from({ length: 17 }, (_, index) => ({ version: String(index) }));
  return [
    whole('L = 0', { block: {}, blockLength: 0 }, 'length 0'),
    whole('L one too small', { block: {}, blockLength: length - 1 }, 'MAC'),
    whole('L one too large', { block: {}, blockLength: length + 1 }, 'too many'),
    whole('L = 16385', { block: tooLong }, '16384'),
    whole('detached block of 16385 bytes', { block: tooLong, detached: true }, '16384'),
    refuse('a byte before the MAC', { trailing }, 'too many'),
    refuse('block version 0', { version: 0 }, 'version 0'),
    refuse('block version 2', { version: 2 }, 'version 2'),
    refuse('created 2^53', { created: 2n ** 53n }, 'creation'),
    refuse('created 2^64 - 1', { created: 2n ** 64n - 1n }, 'creation'),
    refuse('empty key name', { keyName: '' }, 'key name'),
    refuse('key name of 129 bytes', { keyName: 'a'.repeat(129) }, 'key name'),
    refuse('key name begins with a dot', { keyName: '.orders' }, 'key name'),
    refuse('key name with a slash', { keyName: 'a/b' }, 'key name'),
    refuse('key name with a line feed at its end', { keyName: 'orders\n' }, 'key name'),
    refuse('key name with a letter beyond ASCII', { keyName: 'ordérs' }, 'key name'),
    refuse('key name not UTF-8', { keyName: Buffer.from('6fff', 'hex') }, 'key name', 'UTF-8'),
    refuse('no recipients', { recipients: [] }, '0 recipients'),
    refuse('17 recipients', { recipients: seventeen }, '17 recipients'),
    refuse('fewer recipients than n', { count: 2 }, 'dek-block'),
    refuse('more recipients than n', { count: 1, recipients: [{ version: '1' }, { version: '2' }] }, 'too many'),
    refuse('same KEK URI and version twice', { recipients: [{ wrapped: Buffer.alloc(72) }, {}] }, 'twice'),
  ];
}

export function malformedRecipients() {
  const refuse = (name, recipients, ...mentions) =>
    refuseVector('malformed', name, { block: { recipients: [{}, ...recipients] } }, ['dek-block', ...mentions]);
  const uri = 'pkcs11:object=x';
  const schemes = ['local:', 'aws-kms:', 'gcp-kms:', 'azure-keyvault:', 'vault-transit:', 'pkcs11:'];
  const lengths = { 1: [0], 2: [0], 3: [0, 32, 39, 41], 4: [39, 48], 5: [59, 61], 6: [60, 71, 73] };
  return [
    refuse('recipient type 0', [{ type: 0, uri }], 'recipient type 0'),
    refuse('recipient type 7', [{ type: 7, uri }], 'recipient type 7'),
    refuse('wrap algorithm 0', [{ type: 6, uri, algorithm: 0 }], 'wrap algorithm 0'),
    refuse('wrap algorithm 7', [{ type: 6, uri, algorithm: 7 }], 'wrap algorithm 7'),
    refuse('empty KEK URI', [{ type: 6, uri: '' }], 'KEK URI'),
    refuse('KEK URI with its scheme in upper case', [{ type: 6, uri: 'PKCS11:object=x' }], 'KEK URI'),
    refuse('KEK URI not UTF-8', [{ type: 6, uri: Buffer.from('pkcs11:object=\xff', 'latin1') }], 'KEK URI', 'UTF-8'),
    refuse('KEK version not UTF-8', [{ type: 6, uri, version: Buffer.of(0xc0, 0x80) }], 'KEK version', 'UTF-8'),
    ...schemes.map((scheme, index) =>
      refuse(`type ${index + 1} with its scheme alone`, [{ type: index + 1, uri: scheme }], 'KEK URI'),
    ),
    ...schemes.map((_, index) =>
      refuse(
        `type ${index + 1} with another's scheme`,
        [{ type: index + 1, uri: `${schemes[(index + 1) % 6]}x` }],
        'KEK URI',
      ),
    ),
    ...Object.entries(lengths).flatMap(([algorithm, wrong]) =>
      wrong.map((length) =>
        refuse(
          `wrap algorithm ${algorithm}, ${length} bytes`,
          [{ type: 6, uri, algorithm: Number(algorithm), length }],
          'wrapped DEK',
        ),
      ),
    ),
  ];
}
