import type { Administration, ChangedKek, MemoryFacts } from '../api/administration.ts';
import type { Config } from '../config/config.ts';
import { arenaStatus } from '../crypto/native.ts';
import { DekdError, invalidField } from '../errors.ts';
import type { Keyrings } from '../keyring/keyrings.ts';
import type { Policy } from '../policy/authorize.ts';
import type { Logger } from '../telemetry/logger.ts';
import { EVENTS } from '../telemetry/names.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import { hasLifecycle, type KekDescription, type KekLifecycle, type Upstream } from '../upstream/provider.ts';
import { developmentKey, type Keks, keyOptions } from './key-options.ts';

export interface AdministrationParts {
  readonly config: Config;
  readonly version: string;
  readonly warnings: readonly string[];
  readonly upstreams: ReadonlyMap<string, Upstream>;
  readonly keks: Keks;
  readonly keyrings: Keyrings;
  readonly policy: Policy;
  readonly logger: Logger;
}

/** What the administrative calls change: KEKs, and in the development profile the keys themselves. */
export class DaemonAdministration implements Administration {
  readonly version: string;
  readonly profile: string;
  readonly startedAtMs = Date.now();
  readonly warnings: readonly string[];
  readonly #parts: AdministrationParts;

  constructor(parts: AdministrationParts) {
    this.#parts = parts;
    this.version = parts.version;
    this.profile = parts.config.profile;
    this.warnings = parts.warnings;
  }

  get upstreams(): Administration['upstreams'] {
    return [...this.#parts.upstreams].map(([name, { type, warnings }]) => ({ name, type, warnings }));
  }

  memory(): MemoryFacts {
    return arenaStatus();
  }

  async createKek(
    name: string,
    upstream: string,
    labels: ReadonlyMap<string, string>,
  ): Promise<ChangedKek & { usable: boolean }> {
    const made = await ownFailures(this.#lifecycle(upstream).createKek(name, labels));
    this.#parts.keyrings.forgetAnswers();
    if (this.profile === 'development') this.#serve(name);
    const usable = this.#parts.keyrings.byName(name) !== undefined;
    this.#parts.logger.info({ event: EVENTS.keyCreated, key: name, kek: made.uri }, 'a KEK was made');
    return { uri: made.uri, version: newestVersion(made), usable };
  }

  async rotateKeks(keyName: string): Promise<ChangedKek | undefined> {
    let first: ChangedKek | undefined;
    for (const { kek, role } of this.#parts.keyrings.byName(keyName)?.options.recipients ?? []) {
      if (role === 'recovery' || !hasLifecycle(kek.upstream)) continue;
      const rotated = await ownFailures(kek.upstream.rotateKek(kek.uri));
      first ??= { uri: rotated.uri, version: newestVersion(rotated) };
    }
    this.#parts.logger.info({ event: EVENTS.keyRotated, key: keyName, kek: first?.uri }, 'a key was rotated');
    return first;
  }

  /** `npm start` has a key that works; only the development profile makes KEKs by itself. */
  async makeMissingKeks(): Promise<void> {
    for (const { upstream, name } of await this.#missingKeks()) await upstream.createKek(name, new Map());
  }

  /** In production a custodian makes them: until then their keys refuse, and whoever starts dekd should know. */
  async tellMissingKeks(): Promise<void> {
    for (const { key, name } of await this.#missingKeks()) {
      const text = `keys.${key}: its KEK local:${name} does not exist yet; make it with: dekctl keys create ${name}`;
      this.#parts.logger.warn({ event: EVENTS.warning, key }, text);
    }
  }

  async #missingKeks(): Promise<{ key: string; upstream: KekLifecycle; name: string }[]> {
    const missing = new Map<string, { key: string; upstream: KekLifecycle; name: string }>();
    for (const { name: key, recipients } of this.#parts.config.keys.values()) {
      for (const { upstream: upstreamName, kek } of recipients) {
        const upstream = this.#parts.upstreams.get(upstreamName);
        if (upstream === undefined || !hasLifecycle(upstream)) continue;
        const uri = upstream.resolve(kek);
        const known = await upstream.listKeks();
        if (known.some((one) => one.kek.uri === uri)) continue;
        missing.set(uri, { key, upstream, name: uri.slice(uri.lastIndexOf('/') + 1) });
      }
    }
    return [...missing.values()];
  }

  /** Keys that CreateKey made in earlier runs; only the development profile has such. */
  async serveStoredKeys(): Promise<void> {
    for (const upstream of this.#parts.upstreams.values()) {
      if (!hasLifecycle(upstream)) continue;
      for (const { name } of await upstream.listKeks()) this.#serve(name);
    }
  }

  #serve(name: string): void {
    const { config, keks, keyrings, policy } = this.#parts;
    if (keyrings.byName(name) !== undefined) return;
    const key = developmentKey(name, config);
    if (key === undefined) return;
    keyrings.add(keyOptions(key, keks));
    policy.addKey(name, key.allow);
  }

  #lifecycle(name: string): KekLifecycle {
    const able = [...this.#parts.upstreams].filter(([, upstream]) => hasLifecycle(upstream));
    const names = able.map(([known]) => known).join(', ');
    if (name === '' && able.length > 1) throw invalidField('upstream', `is empty; choose one of: ${names}`);
    const found = name === '' ? able[0] : able.find(([known]) => known === name);
    if (found === undefined || !hasLifecycle(found[1])) {
      throw invalidField('upstream', `"${name}" is not a local upstream; there is: ${names || 'none'}`);
    }
    return found[1];
  }
}

/** A KEK's change that an upstream's failure ended; its text is about the store, for whoever runs it. */
async function ownFailures<T>(change: Promise<T>): Promise<T> {
  try {
    return await change;
  } catch (thrown) {
    if (!(thrown instanceof UpstreamFailure)) throw thrown;
    throw new DekdError('UPSTREAM_UNAVAILABLE', thrown.message, { cause: thrown });
  }
}

function newestVersion(kek: KekDescription): string {
  return kek.versions.find(({ state }) => state === 'active')?.version ?? '';
}
