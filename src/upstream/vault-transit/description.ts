import { UpstreamFailure } from '../failure.ts';
import type { KekDescription, KekVersionDescription } from '../provider.ts';

/** Types that bind associated data and are no weaker than a DEK. */
const KEK_TYPES = ['aes256-gcm96', 'chacha20-poly1305', 'xchacha20-poly1305'];
/** The newest ones; more is of no use to a reader. */
const MAX_VERSIONS = 1_000;

/**
 * What `GET MOUNT/keys/NAME` says of a key; undefined when that is not an answer of the transit engine. Throws UpstreamFailure, *refused*, for a
 * key that can be no KEK for dekd.
 */
export function describeKey(uri: string, data: unknown): KekDescription | undefined {
  if (typeof data !== 'object' || data === null) return undefined;
  const { type, derived, soft_deleted: softDeleted, keys, latest_version: latest } = data as Record<string, unknown>;
  if (typeof type !== 'string' || typeof keys !== 'object' || keys === null || !isCount(latest)) return undefined;
  if (!KEK_TYPES.includes(type)) throw unfit(uri, `is of type ${type}; make one of type ${KEK_TYPES.join(', ')}`);
  if (derived !== false) throw unfit(uri, 'is derived (or convergent); make one with derived: false');
  const versions = Object.entries(keys)
    .map(([version, created]) => versionOf(version, created, latest))
    .sort((a, b) => Number(a?.version) - Number(b?.version))
    .slice(-MAX_VERSIONS);
  if (versions.length === 0 || !versions.every((version) => version !== undefined)) return undefined;
  return { uri, state: softDeleted === true ? 'disabled' : 'active', versions, labels: new Map() };
}

/** Transit lists the versions that it still decrypts with. */
function versionOf(version: string, created: unknown, latest: number): KekVersionDescription | undefined {
  if (!/^[1-9][0-9]{0,9}$/.test(version) || !isCount(created)) return undefined;
  return { version, state: Number(version) === latest ? 'active' : 'decrypt-only', createdAt: created * 1000 };
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value < 2 ** 42;
}

function unfit(uri: string, problem: string): UpstreamFailure {
  return new UpstreamFailure('refused', `${uri} ${problem}`, { scope: 'kek' });
}
