import { z } from 'zod';
import { leaf, text } from './leaves.ts';

/** A key's name: part of its ciphertexts for ever. */
export const KEY_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

const NAME_FORM = 'a name of 1 to 128 characters of A-Z a-z 0-9 . _ - that starts with a letter or digit';

/** A name that the operator chooses, where it stands as the name of a field. */
export const name = z.string().regex(KEY_NAME, { error: NAME_FORM }).meta({ form: NAME_FORM });

export function upstreamName() {
  return text('the name of one of the upstreams', KEY_NAME);
}

/** The `type` of an upstream, which says what else it takes. */
export function upstreamType<const Type extends string>(type: Type) {
  return z
    .literal(type)
    .meta({ form: `\`${type}\`` })
    .describe('Which service it is, and so which of the fields below it takes.');
}

/**
 * What a KEK of each type of upstream looks like. Only that of `local` is needed here (kekName); the others their own types read (kek-problems.ts),
 * which say what is wrong with them. They may hold what must not be shown: a PIN.
 */
const KEK_FORMS = {
  local: /^local:(?:[0-9a-f]{16}\/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/,
  'vault-transit': /^vault-transit:/,
  'aws-kms': /^aws-kms:/,
  pkcs11: /^pkcs11:/,
} as const;

const KEK_EXAMPLES =
  'a KEK such as local:orders, vault-transit:transit/keys/orders, aws-kms:arn:aws:kms:REGION:ACCOUNT:key/ID or pkcs11:object=orders;token=hsm-a';

export function kekReference() {
  return leaf(KEK_EXAMPLES, (value) =>
    typeof value === 'string' && Object.values(KEK_FORMS).some((form) => form.test(value)) ? value : undefined,
  );
}

/** The type of upstream that a KEK belongs to. */
export function kekType(reference: string): string {
  return reference.slice(0, reference.indexOf(':'));
}

/** What tells a KEK of one upstream from its others: for a local one, which may be written with or without its store, the name. */
export function kekIdentity(reference: string): string {
  return kekType(reference) === 'local' ? kekName(reference) : reference;
}

/** The KEK's name in its store: `orders` of `local:orders` and of `local:0123456789abcdef/orders`. */
export function kekName(reference: string): string {
  return reference.slice(Math.max(reference.lastIndexOf('/'), reference.indexOf(':')) + 1);
}

/** A secret's place: a file, or a name of systemd's (LoadCredential=). */
export function secretPlace(what: string) {
  return {
    file: path()
      .optional()
      .meta({ without: 'another source' })
      .describe(`A file with ${what}. In production an absolute path.`),
    credential: text('the name of a systemd credential, without slashes', /^(?!\.{1,2}$)[^/\0]{1,255}$/)
      .optional()
      .meta({ without: 'another source' })
      .describe(`A file of that name in systemd’s \`$CREDENTIALS_DIRECTORY\` with ${what}.`),
  };
}

export function path() {
  return leaf('a path', (value) =>
    typeof value === 'string' && value !== '' && !value.includes('\0') ? value : undefined,
  );
}
