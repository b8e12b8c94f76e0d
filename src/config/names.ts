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

export function kekReference() {
  return text('a KEK such as local:orders', /^local:(?:[0-9a-f]{16}\/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/);
}

/** The KEK's name in its store: `orders` of `local:orders` and of `local:0123456789abcdef/orders`. */
export function kekName(reference: string): string {
  return reference.slice(Math.max(reference.lastIndexOf('/'), reference.indexOf(':')) + 1);
}

export function path() {
  return leaf('a path', (value) =>
    typeof value === 'string' && value !== '' && !value.includes('\0') ? value : undefined,
  );
}
