import { readSync } from 'node:fs';
import { secretBuffer } from '../../crypto/secret-buffer.ts';
import { DekdError } from '../../errors.ts';
import { UpstreamFailure } from '../failure.ts';
import { credentialFile, namedFile, type SecretFile, secretFault, withSecretFile } from '../local/secret-file.ts';
import type { Pkcs11Options } from './options.ts';

const MAX_PIN_BYTES = 255;

/**
 * The token user's PIN, read at each login: a file that was changed counts at once. A PIN that a token refused is never tried again, at no token:
 * tokens lock after a few.
 */
export class Pin {
  readonly #file: SecretFile;
  #refused: { readonly pin: string; readonly failure: UpstreamFailure } | undefined;

  constructor(source: Pkcs11Options['pin']) {
    this.#file =
      'file' in source
        ? namedFile('PIN', source.file, 'write the PIN of the token’s user into it and make it readable for dekd alone')
        : credentialFile('PIN', source.credential);
  }

  /** Throws DekdError: what an operator must put right. */
  check(): void {
    readPin(this.#file);
  }

  /** Logs in with the PIN, unless it was refused before. Throws UpstreamFailure *unauthenticated*, and what `login` throws. */
  use(login: (pin: string) => void, isRefusal: (thrown: unknown) => UpstreamFailure | undefined): void {
    const pin = this.#read();
    if (this.#refused?.pin === pin) throw this.#refused.failure;
    try {
      login(pin);
      this.#refused = undefined;
    } catch (error) {
      const failure = isRefusal(error);
      if (failure === undefined) throw error;
      const message = `${failure.message}; ${this.#file.name} is not tried again before it is changed`;
      this.#refused = { pin, failure: new UpstreamFailure(failure.class, message, { cause: error }) };
      throw this.#refused.failure;
    }
  }

  #read(): string {
    try {
      return readPin(this.#file);
    } catch (error) {
      if (!(error instanceof DekdError)) throw error;
      throw new UpstreamFailure('unauthenticated', error.message, { cause: error });
    }
  }
}

/** As a string: pkcs11js takes nothing else. It stays in the child's memory until the child is replaced. */
function readPin(file: SecretFile): string {
  return withSecretFile(file, (descriptor) => {
    const bytes = secretBuffer(MAX_PIN_BYTES + 2);
    try {
      const length = readSync(descriptor, bytes, 0, bytes.length, 0);
      const end = length > 0 && bytes[length - 1] === 0x0a ? length - 1 : length;
      if (end === 0 || end > MAX_PIN_BYTES || bytes.subarray(0, end).includes(0)) {
        throw secretFault(file.name, `does not have 1-${MAX_PIN_BYTES} bytes without a zero byte`);
      }
      return bytes.toString('utf8', 0, end);
    } finally {
      bytes.fill(0);
    }
  });
}
