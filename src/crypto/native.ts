/** The native addon, loaded once per thread; native/binding.d.ts says what each function takes, returns and throws. */
import { existsSync } from 'node:fs';
import { createRequire, findPackageJSON } from 'node:module';
import { dirname, join } from 'node:path';

export type {
  ArenaKind,
  ArenaOptions,
  ArenaStatus,
  KeyUse,
  PeerCredentials,
  SlotHandle,
  SlotKind,
  SuiteId,
} from '../../native/binding.d.ts';

type Binding = typeof import('../../native/binding.d.ts');

/** All of it, for callers that read better with `native.seal(…)`. */
export const native = load();

export const {
  selfTest,
  openArena,
  arenaStatus,
  createKey,
  readKey,
  readPassphraseKey,
  freeKey,
  deriveKey,
  hmac,
  hmacVerify,
  dekId,
  blockMac,
  blockVerify,
  createIndex,
  addToIndex,
  findInIndex,
  findIdInIndex,
  removeFromIndex,
  seal,
  open,
  sealAsync,
  openAsync,
  sealDataKey,
  wrapKey,
  unwrapKey,
  cleanse,
  boottimeMs,
  peerCredentials,
  hardenProcess,
  lockFile,
  openKeyChannel,
  closeKeyChannel,
  sendKey,
  receiveKey,
  limitProcess,
  endWithParent,
  USE_RAW,
  USE_MESSAGE,
  USE_DATA_KEY,
} = native;

/** From the package's own folder: this file may lie in src/crypto/ or, compiled, in dist/src/crypto/. */
function load(): Binding {
  const root = dirname(findPackageJSON('.', import.meta.url) ?? '');
  const path = join(root, 'native', 'build', 'dekd.node');
  if (!existsSync(path)) {
    throw new Error(
      `the native addon is not built (no ${path}): run \`npm rebuild\`, or \`npm ci\` in a source checkout`,
    );
  }
  return createRequire(import.meta.url)(path) as Binding;
}
