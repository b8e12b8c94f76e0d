import { createHash } from 'node:crypto';
import { readSync } from 'node:fs';
import { secretBuffer } from '../../crypto/secret-buffer.ts';
import { DekdError } from '../../errors.ts';
import type { Handover } from '../child/handover.ts';
import { UpstreamFailure } from '../failure.ts';
import { credentialFile, namedFile, type SecretFile, secretFault, withSecretFile } from '../local/secret-file.ts';
import type { Pkcs11Options } from './options.ts';

const MAX_PIN_BYTES = 255;

/** Of a PIN that a token refused. */
interface Refusal {
  /** SHA-256. It is no secret's keeper, since PINs are short: no memory but a child's and the handover's holds it. */
  readonly digest: string;
  readonly message: string;
}

/**
 * The token user's PIN, read at each login: a file that was changed counts at once. A PIN that a token refused is never tried again, at no token
 * and by no later child: tokens lock after a few.
 */
export class Pin {
  readonly #file: SecretFile;
  readonly #handover: Handover | undefined;
  #refusal: Refusal | undefined;

  constructor(source: Pkcs11Options['pin'], handover?: Handover) {
    this.#handover = handover;
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
    const known = this.#refusal ?? parseRefusal(this.#handover?.read());
    const digest = createHash('sha256').update(pin).digest('hex');
    if (known?.digest === digest) throw new UpstreamFailure('unauthenticated', known.message);
    try {
      login(pin);
    } catch (error) {
      const failure = isRefusal(error);
      if (failure === undefined) throw error;
      const message = `${failure.message}; ${this.#file.name} is not tried again before it is changed, or dekd starts anew`;
      this.#remember({ digest, message });
      throw new UpstreamFailure(failure.class, message, { cause: error });
    }
    if (known !== undefined) this.#remember(undefined);
  }

  /** At once: the process may be killed before it could hand anything over. */
  #remember(refusal: Refusal | undefined): void {
    this.#refusal = refusal;
    this.#handover?.write(refusal ?? null);
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

function parseRefusal(note: unknown): Refusal | undefined {
  const { digest, message } = (note ?? {}) as Record<string, unknown>;
  return typeof digest === 'string' && typeof message === 'string' ? { digest, message } : undefined;
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
