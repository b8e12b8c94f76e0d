import type { KekFacts } from '../api/administration.ts';
import type { UpstreamConfig } from '../config/config.ts';
import { DekdError } from '../errors.ts';
import type { Kek } from '../keyring/kek.ts';
import type { Keyring } from '../keyring/keyring.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import { howToMakeKek } from '../upstream/kek-references.ts';
import type { KekDescription } from '../upstream/provider.ts';

/** Every KEK that the configuration gives a key; those of recovery are never called. */
export async function describeKeks(
  keyring: Keyring,
  upstreams: ReadonlyMap<string, UpstreamConfig>,
  signal: AbortSignal,
): Promise<KekFacts[]> {
  const { recipients, decryptWith } = keyring.options;
  const all = [...recipients, ...decryptWith.map((kek) => ({ kek, role: undefined }))];
  return Promise.all(
    all.map(async ({ kek, role }): Promise<KekFacts> => {
      if (role === 'recovery') return { kek, role };
      try {
        const description = await kek.describe(signal);
        const nextRotationAt = nextRotation(description, upstreams.get(kek.upstreamName));
        return { kek, role, description, ...(nextRotationAt === undefined ? {} : { nextRotationAt }) };
      } catch (thrown) {
        return { kek, role, problem: problemOf(kek, thrown) };
      }
    }),
  );
}

function problemOf({ uri, upstreamName }: Kek, thrown: unknown): string {
  if (thrown instanceof DekdError) return thrown.message;
  const failure = UpstreamFailure.from(thrown);
  if (failure.condition === 'missing') return `upstream ${upstreamName} has no such KEK; ${howToMakeKek(uri)}`;
  return `upstream ${upstreamName} did not describe it: ${failure.class}`;
}

/** The upstream rotates by the age of the newest version; only an active KEK is rotated. */
function nextRotation(kek: KekDescription, config: UpstreamConfig | undefined): number | undefined {
  if (config?.type !== 'local' || kek.state !== 'active') return undefined;
  const name = kek.uri.slice(kek.uri.lastIndexOf('/') + 1);
  const afterMs = config.keks.get(name)?.rotateAfterMs ?? config.schedule.rotateAfterMs;
  const newest = kek.versions.find(({ state }) => state === 'active');
  return afterMs === undefined || newest === undefined ? undefined : newest.createdAt + afterMs;
}
