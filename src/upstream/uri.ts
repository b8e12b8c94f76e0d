import { invalidField } from '../errors.ts';
import { RECIPIENT_TYPES, type UpstreamType } from './provider.ts';

// A KEK is named by a URI: the upstream's type, a colon, and what the type makes of the rest. In normal form it is part of
// every dek-block (docs/envelope.md) and compared byte for byte, so a change of a normal form makes ciphertexts unreadable.

/** A KEK's reference taken apart at its first colon. */
export interface KekReference {
  readonly type: UpstreamType;
  /** What follows the colon, not yet checked. */
  readonly rest: string;
}

/** Throws DekdError INVALID_REQUEST for a reference without a known scheme. */
export function parseKekReference(reference: string): KekReference {
  const colon = reference.indexOf(':');
  const scheme = reference.slice(0, Math.max(colon, 0));
  if (!isUpstreamType(scheme)) {
    const known = Object.keys(RECIPIENT_TYPES).join(':, ');
    throw invalidField(
      'kek',
      `${quoteReference(reference)} has no known scheme; a KEK is written with one of ${known}:`,
    );
  }
  return { type: scheme, rest: reference.slice(colon + 1) };
}

/** Name of a KEK that dekd makes; part of its ciphertexts for ever. */
export const KEK_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** Id of a local store: 16 hex digits, made with the store. */
export const STORE_ID = /^[0-9a-f]{16}$/;

export interface LocalKek {
  /** Undefined when the reference leaves it to the upstream that it is given to. */
  readonly storeId: string | undefined;
  readonly name: string;
}

/** `local:NAME` or `local:STORE/NAME`. Throws DekdError INVALID_REQUEST for anything else. */
export function parseLocalKek(reference: string): LocalKek {
  const { type, rest } = parseKekReference(reference);
  const slash = rest.indexOf('/');
  const storeId = slash < 0 ? undefined : rest.slice(0, slash);
  const name = rest.slice(slash + 1);
  if (type !== 'local' || !KEK_NAME.test(name) || (storeId !== undefined && !STORE_ID.test(storeId))) {
    throw invalidField(
      'kek',
      `${quoteReference(reference)} is not a KEK of a local upstream; write local:NAME or local:STORE/NAME, ` +
        'where NAME has 1-128 of A-Z a-z 0-9 . _ - and begins with a letter or digit, and STORE has 16 hex digits',
    );
  }
  return { storeId, name };
}

/** For a KEK that the store does not have. */
export function howToMakeLocalKek(kek: string): string {
  return `a custodian makes it with \`dekctl keys create ${kek.slice(kek.search(/[^/:]*$/))}\``;
}

/** The normal form. */
export function formatLocalKek(storeId: string, name: string): string {
  return `local:${storeId}/${name}`;
}

function isUpstreamType(scheme: string): scheme is UpstreamType {
  return Object.hasOwn(RECIPIENT_TYPES, scheme);
}

const MAX_QUOTED_LENGTH = 200;

/** As a message shows it: cut where it is long. */
export function quoteReference(reference: string): string {
  return JSON.stringify(reference.length > MAX_QUOTED_LENGTH ? `${reference.slice(0, MAX_QUOTED_LENGTH)}…` : reference);
}
