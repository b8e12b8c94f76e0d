import { DekdError } from '../errors.ts';

/** Bytes that cannot be an envelope or a dek-block, whatever the key: says what is wrong and at which byte of what. */
export function malformed(problem: string, offset: number, where = 'ciphertext'): DekdError {
  return new DekdError('INVALID_CIPHERTEXT', `${where}: ${problem} (at byte ${offset})`);
}

/** The one answer for everything that depends on a key, so that no caller learns which part was wrong. */
export function unauthentic(cause?: unknown): DekdError {
  return new DekdError(
    'INVALID_CIPHERTEXT',
    'the ciphertext cannot be opened: wrong encryption context, associated data or key, or it was altered',
    { cause },
  );
}
