import { z } from 'zod';
import { childFields } from './child-schema.ts';
import { exactlyOne, integer, list, map, text } from './leaves.ts';
import { secretPlace, upstreamType } from './names.ts';

const PIN = '{ file: PATH } or { credential: NAME }';
const TOKENS = 'a list of 1 to 16 labels of tokens';

export const pkcs11Upstream = map('a map with type, module_path and pin', {
  type: upstreamType('pkcs11'),
  module_path: text('an absolute path', /^\/[^\0]+$/).describe(
    'The vendor’s PKCS#11 library. It is loaded in a child process, never in the agent.',
  ),
  pin: exactlyOne(map(PIN, secretPlace('the PIN')), PIN).describe(
    'The PIN of the tokens’ user: 1 to 255 bytes; one newline at its end does not count. A PIN that a token refused is not tried again before it is changed.',
  ),
  tokens: list(TOKENS, text('the label of a token', /^(?=.*[^ ]$)[^\0]{1,32}$/))
    .max(16, { error: TOKENS })
    .optional()
    .meta({ without: 'every token with the label that the KEK names' })
    .describe(
      'Tokens with the same KEKs, an HSM cluster: any of them serves a KEK whose URI names no token; at most 16.',
    ),
  max_sessions: integer(1, 64)
    .default(16)
    .describe('Sessions at one token on which calls work at the same time; one more holds the login.'),
  library_parameters: text('text of 1 to 1024 characters', /^[^\0]{1,1024}$/)
    .optional()
    .meta({ without: 'none' })
    .describe('Passed to the library as it is, when it is initialized: what it must say, the vendor knows.'),
  origin: z
    .literal('unproven', { error: 'unproven' })
    .meta({ form: '`unproven`' })
    .optional()
    .meta({ without: 'an RSA key is not used' })
    .describe('Allows KEKs that are RSA keys: whoever has the public key can make ciphertexts that open.'),
  ...childFields,
}).describe('`pkcs11`: a hardware security module ([how to set it up](upstreams/pkcs11.md)).');
