import { DekdError } from '../errors.ts';
import { unauthentic } from './invalid-ciphertext.ts';

/** What an error of the native addon means to a caller; whatever can only be our own mistake is INTERNAL. */
export function fromNative(thrown: unknown): DekdError {
  if (thrown instanceof DekdError) return thrown;
  switch ((thrown as { code?: unknown } | null)?.code) {
    case 'ERR_AUTHENTICATION':
      return unauthentic(thrown);
    case 'ERR_NO_MEMORY':
      return new DekdError('SECRET_MEMORY_EXHAUSTED', 'no secret memory is left for another key; raise memory.size', {
        cause: thrown,
      });
    case 'ERR_MESSAGE_LIMIT':
      return new DekdError(
        'QUOTA_EXCEEDED',
        'the data-encryption key has sealed as many messages as its suite allows and must be replaced first',
        { cause: thrown },
      );
    default:
      return DekdError.from(thrown);
  }
}
