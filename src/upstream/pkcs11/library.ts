import { DekdError } from '../../errors.ts';
import { UpstreamFailure } from '../failure.ts';
import { CKF_OS_LOCKING_OK, type Cryptoki, type Handle } from './cryptoki.ts';
import { returnValue } from './errors.ts';
import type { Pkcs11Options } from './options.ts';

const ALREADY_INITIALIZED = 0x191;

/** The vendor's library in this process. It is initialized by the first call, so that an agent starts while its HSM is away. */
export class Library {
  readonly cryptoki: Cryptoki;
  readonly #parameters: string | undefined;
  #initialized = false;

  /** Loads it. Throws DekdError INVALID_REQUEST. */
  constructor(
    cryptoki: Cryptoki,
    { modulePath, libraryParameters }: Pick<Pkcs11Options, 'modulePath' | 'libraryParameters'>,
  ) {
    this.cryptoki = cryptoki;
    this.#parameters = libraryParameters;
    try {
      cryptoki.load(modulePath);
    } catch (error) {
      const [detail = ''] = error instanceof Error ? error.message.split('\n') : [];
      throw new DekdError(
        'INVALID_REQUEST',
        `module_path ${modulePath} is not a PKCS#11 library that loads: ${detail}`,
        {
          cause: error,
        },
      );
    }
  }

  /** Slots of the tokens with this label that are present. Throws what the library throws. */
  slots(label: string): Handle[] {
    this.#initialize();
    return this.cryptoki.C_GetSlotList(true).filter((slot) => labelOf(this.cryptoki, slot) === label);
  }

  /** The next call begins anew: some libraries find a token that was away only then. All sessions end. */
  finalize(): void {
    if (!this.#initialized) return;
    this.#initialized = false;
    try {
      this.cryptoki.C_Finalize();
    } catch (error) {
      if (returnValue(error) === undefined) throw error;
    }
  }

  #initialize(): void {
    if (this.#initialized) return;
    try {
      // Without it a library may take itself for the only thread, and SoftHSM then corrupts its heap.
      this.cryptoki.C_Initialize({ flags: CKF_OS_LOCKING_OK, ...this.#initParameters() });
    } catch (error) {
      if (returnValue(error) !== ALREADY_INITIALIZED) throw error;
    }
    this.#initialized = true;
    const { major, minor } = this.cryptoki.C_GetInfo().cryptokiVersion;
    if (major === 2 || major === 3) return;
    throw new UpstreamFailure('unreachable', `the library speaks PKCS#11 ${major}.${minor}; dekd speaks 2 and 3`);
  }

  /** pkcs11js 2.1.7 cuts the last byte off (it takes the length without the final zero for the buffer's): a blank stands in for it. */
  #initParameters(): { libraryParameters?: string } {
    return this.#parameters === undefined ? {} : { libraryParameters: `${this.#parameters} ` };
  }
}

/** Undefined when the token does not say: it may be on its way out. */
function labelOf(cryptoki: Cryptoki, slot: Handle): string | undefined {
  try {
    return trimLabel(cryptoki.C_GetTokenInfo(slot).label);
  } catch (error) {
    if (returnValue(error) === undefined) throw error;
    return undefined;
  }
}

/** CK_TOKEN_INFO pads with blanks. */
export function trimLabel(label: string): string {
  return label.replace(/[ \0]+$/, '');
}
