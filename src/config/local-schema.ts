import { z } from 'zod';
import { duration, exactlyOne, flag, instant, integer, map, named } from './leaves.ts';
import { name, path, secretPlace, upstreamType } from './names.ts';

const ROOT_KEY =
  '{ file: PATH }, { credential: NAME }, { passphrase: { file: PATH } }, { passphrase: { credential: NAME } } or, in the development profile, { development: true }';
const PASSPHRASE = '{ file: PATH } or { credential: NAME }';

const SECOND = 1000;
const DAY = 86_400 * SECOND;

/** A KEK's life without a person: for all of an upstream, or for one KEK. */
const schedule = (without: { readonly rotateAfter: string; readonly maxVersions: string }) => ({
  rotate_after: duration(SECOND, 3650 * DAY)
    .optional()
    .meta({ without: without.rotateAfter })
    .describe(
      'Age of the KEK version that wraps at which the next one is made. In production at least an hour: versions are kept. Not a DEK’s age: that is `cache.rotate_after` of its key.',
    ),
  max_versions: integer(1, 1_000_000)
    .optional()
    .meta({ without: without.maxVersions })
    .describe('Versions that are not archived: a rotation beyond it archives the oldest, and destroys nothing.'),
});

const kek = map('a map with rotate_after, max_versions and expires', {
  ...schedule({ rotateAfter: 'the upstream’s', maxVersions: 'the upstream’s' }),
  expires: instant()
    .optional()
    .meta({ without: 'never' })
    .describe('From then on the KEK is archived: it decrypts only, for rules with `archived: true`.'),
}).describe('What stands here is for this KEK in place of the upstream’s own.');

export const localUpstream = map('a map with type, directory and root_key', {
  type: upstreamType('local'),
  directory: path().describe('Where the keystore lies. No two upstreams share one; in production an absolute path.'),
  root_key: rootKey(),
  durable: flag()
    .default(false)
    .describe(
      'Your word that the directory outlives the pod and is backed up. In production each key needs an authority that is.',
    ),
  ...schedule({ rotateAfter: 'never', maxVersions: 'unlimited' }),
  keks: named('a map from names of KEKs to their settings', name, kek)
    .optional()
    .meta({ without: 'none' })
    .describe('Single KEKs, by their name in this upstream; a name that no key has for a KEK is refused.'),
}).describe('`local`: the embedded keystore, a software KMS in one directory.');

function rootKey() {
  const passphrase = exactlyOne(map(PASSPHRASE, secretPlace('a passphrase')), PASSPHRASE)
    .optional()
    .meta({ without: 'another source' })
    .describe(
      'The root key is derived (scrypt) from a passphrase of 8 to 1,024 bytes; one newline at its end does not count.',
    );
  const development = z
    .literal(true, { error: 'true' })
    .meta({ form: '`true`' })
    .optional()
    .meta({ without: 'another source' })
    .describe('dekd makes a root key beside the keystore, which protects nothing. Refused in production.');
  const shape = { ...secretPlace('32 random bytes'), passphrase, development };
  return exactlyOne(map(ROOT_KEY, shape), ROOT_KEY).describe(
    'What the KEKs are wrapped under: exactly one source. Without it the keystore is lost; keep a copy elsewhere.',
  );
}
