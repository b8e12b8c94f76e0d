import type { Config, KeyConfig } from '../config/config.ts';
import { DekdError } from '../errors.ts';
import type { Clock } from '../keyring/clock.ts';
import { Kek } from '../keyring/kek.ts';
import type { KeyOptions } from '../keyring/options.ts';
import type { Upstream } from '../upstream/provider.ts';

/** The KEKs of the configuration: one object for each URI, whatever number of keys name it. */
export class Keks {
  readonly #upstreams: ReadonlyMap<string, Upstream>;
  readonly #clock: Clock;
  readonly #keks = new Map<string, Kek>();

  constructor(upstreams: ReadonlyMap<string, Upstream>, clock: Clock) {
    this.#upstreams = upstreams;
    this.#clock = clock;
  }

  of(upstreamName: string, reference: string, keyName: string): Kek {
    const upstream = this.#upstreams.get(upstreamName);
    if (upstream === undefined) {
      throw new DekdError('INVALID_REQUEST', `keys.${keyName}: there is no upstream "${upstreamName}"`);
    }
    const uri = this.#resolve(upstream, reference, keyName);
    const id = JSON.stringify([upstreamName, uri]);
    const known = this.#keks.get(id);
    if (known !== undefined) return known;
    const kek = new Kek(uri, upstreamName, upstream, this.#clock);
    this.#keks.set(id, kek);
    return kek;
  }

  #resolve(upstream: Upstream, reference: string, keyName: string): string {
    try {
      return upstream.resolve(reference);
    } catch (thrown) {
      const error = DekdError.from(thrown);
      throw new DekdError(error.reason, `keys.${keyName}: ${error.message}`, { cause: error });
    }
  }
}

/** What the keyring needs to know of a configured key. */
export function keyOptions(key: KeyConfig, keks: Keks): KeyOptions {
  return {
    name: key.name,
    suite: key.suite,
    recipients: key.recipients.map(({ upstream, kek, role }) => ({ kek: keks.of(upstream, kek, key.name), role })),
    decryptWith: key.decryptWith.map(({ upstream, kek }) => keks.of(upstream, kek, key.name)),
    partitionBy: key.partitionBy,
    wrap: key.wrap,
    cache: key.cache,
  };
}

/** A key that CreateKey made in the development profile: the settings of `default`, a KEK of its own name, the same callers. */
export function developmentKey(name: string, config: Config): KeyConfig | undefined {
  const template = config.keys.get('default') ?? [...config.keys.values()][0];
  const upstream = [...config.upstreams].find(([, { type }]) => type === 'local')?.[0];
  if (template === undefined || upstream === undefined) return undefined;
  return {
    ...template,
    name,
    recipients: [{ upstream, kek: `local:${name}`, role: 'authority' }],
    decryptWith: [],
    partitionBy: [],
  };
}
