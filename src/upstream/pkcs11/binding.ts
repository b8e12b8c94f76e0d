import { DekdError } from '../../errors.ts';
import { hiddenPackage } from '../child/packages.ts';
import type { Cryptoki } from './cryptoki.ts';

/** By a name that no compiler follows: it may be missing where it could not be compiled, and dekd without HSMs needs no compiler for C++. */
const PACKAGE: string = 'pkcs11js';

/** Throws DekdError INVALID_REQUEST, with what to install. */
export async function loadPkcs11js(): Promise<Cryptoki> {
  try {
    const { default: pkcs11js } = (await import(PACKAGE)) as { default: { PKCS11: new () => Cryptoki } };
    return new pkcs11js.PKCS11();
  } catch (error) {
    const problem = hiddenPackage(error) ?? 'is not there, or was not compiled';
    const wayOut = 'install a C++ compiler, python3 and make, then run: npm install pkcs11js@2';
    throw new DekdError('INVALID_REQUEST', `the package pkcs11js ${problem}; ${wayOut}`, { cause: error });
  }
}
