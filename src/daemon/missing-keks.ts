import type { Config } from '../config/config.ts';
import type { Logger } from '../telemetry/logger.ts';
import { EVENTS } from '../telemetry/names.ts';
import { howToMakeKek } from '../upstream/kek-references.ts';
import { hasLifecycle, type KekLifecycle, type Upstream } from '../upstream/provider.ts';

/** A KEK that the configuration names and that its upstream does not have yet. */
interface MissingKek {
  readonly key: string;
  readonly upstream: KekLifecycle;
  readonly name: string;
}

/** Who made a KEK that nobody asked for. */
const BY_START = 'start in the development profile';

/** `npm start` has a key that works; only the development profile makes KEKs by itself. */
export async function makeMissingKeks(config: Config, upstreams: ReadonlyMap<string, Upstream>): Promise<void> {
  for (const { upstream, name } of await missingKeks(config, upstreams)) {
    await upstream.createKek(name, new Map(), BY_START);
  }
}

/** In production a custodian makes them: until then their keys refuse, and whoever starts dekd should know. */
export async function tellMissingKeks(
  config: Config,
  upstreams: ReadonlyMap<string, Upstream>,
  logger: Logger,
): Promise<void> {
  for (const { key, name } of await missingKeks(config, upstreams)) {
    const kek = `local:${name}`;
    const text = `keys.${key}: its KEK ${kek} does not exist yet; ${howToMakeKek(kek)}`;
    logger.warn({ event: EVENTS.warning, key }, text);
  }
}

async function missingKeks(config: Config, upstreams: ReadonlyMap<string, Upstream>): Promise<MissingKek[]> {
  const missing = new Map<string, MissingKek>();
  for (const { name: key, recipients } of config.keys.values()) {
    for (const { upstream: upstreamName, kek } of recipients) {
      const upstream = upstreams.get(upstreamName);
      if (upstream === undefined || !hasLifecycle(upstream)) continue;
      const uri = upstream.resolve(kek);
      const known = await upstream.listKeks();
      if (known.some((one) => one.kek.uri === uri)) continue;
      missing.set(uri, { key, upstream, name: uri.slice(uri.lastIndexOf('/') + 1) });
    }
  }
  return [...missing.values()];
}
