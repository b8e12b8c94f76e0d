import { createHash } from 'node:crypto';
import { readSync } from 'node:fs';
import { secretBuffer } from '../../crypto/secret-buffer.ts';
import { DekdError } from '../../errors.ts';
import type { Handover } from '../child/handover.ts';
import { monotonicMs } from '../child/monotonic.ts';
import { UpstreamFailure } from '../failure.ts';
import { credentialFile, namedFile, type SecretFile, secretFault, withSecretFile } from '../local/secret-file.ts';
import type { Pkcs11Options } from './options.ts';

const MAX_PIN_BYTES = 255;

/** Of a PIN that a token refused. */
interface Refusal {
  /** SHA-256. It is no secret's keeper, since PINs are short: no memory but a child's and the handover's holds it. */
  readonly digest: string;
  readonly message: string;
  /** Set while the login has not ended: by which process, and until when nobody tries that PIN again, of CLOCK_MONOTONIC in milliseconds. */
  readonly trying?: { readonly pid: number; readonly untilMs: number };
}

/** A login that did not end may have been a refusal that came late: a PIN is tried once in that time, so that a token is not locked by night. */
const UNENDED_LOGIN_MS = 300_000;
/** How long a process waits for another one's login, below the time of an attempt. */
const OTHERS_LOGIN_MS = 700;
const LOOK_MS = 20;

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
    const digest = createHash('sha256').update(pin).digest('hex');
    const known = this.#refusal ?? this.#left(digest);
    if (known?.digest === digest) throw new UpstreamFailure('unauthenticated', known.message);
    this.#announce(digest);
    try {
      login(pin);
    } catch (error) {
      const failure = isRefusal(error);
      if (failure === undefined) {
        this.#handover?.write(known ?? null);
        throw error;
      }
      const message = `${failure.message}; ${this.#file.name} is not tried again before it is changed, or dekd starts anew`;
      this.#remember({ digest, message });
      throw new UpstreamFailure(failure.class, message, { cause: error });
    }
    this.#remember(undefined);
  }

  /** Before the login: a token that delays its refusal of a wrong PIN outlives the process that asked it. */
  #announce(digest: string): void {
    const message = `a login with this PIN did not end; ${this.#file.name} is tried again when it is changed, or after ${UNENDED_LOGIN_MS / 60_000} minutes`;
    this.#handover?.write({ digest, message, trying: { pid: process.pid, untilMs: monotonicMs() + UNENDED_LOGIN_MS } });
  }

  /** What another process left of this PIN or an earlier one. The login of one that lives may be about to end. */
  #left(digest: string): Refusal | undefined {
    for (const endMs = monotonicMs() + OTHERS_LOGIN_MS; ; pause()) {
      const note = parseRefusal(this.#handover?.read());
      if (note?.trying === undefined) return note;
      const leftMs = note.trying.untilMs - monotonicMs();
      if (note.digest !== digest || leftMs <= 0 || leftMs > UNENDED_LOGIN_MS) return undefined;
      if (monotonicMs() >= endMs || !lives(note.trying.pid)) return note;
    }
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
  const { digest, message, trying } = (note ?? {}) as Record<string, unknown>;
  if (typeof digest !== 'string' || typeof message !== 'string') return undefined;
  const { pid, untilMs } = (trying ?? {}) as Record<string, unknown>;
  if (typeof pid !== 'number' || typeof untilMs !== 'number') return { digest, message };
  return { digest, message, trying: { pid, untilMs } };
}

function lives(pid: number): boolean {
  try {
    return pid !== process.pid && Number.isSafeInteger(pid) && pid > 0 && process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Calls of a library are synchronous, and so is this one. */
function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_MS);
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
