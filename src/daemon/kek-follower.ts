import { DekdError } from '../errors.ts';
import type { Keyring } from '../keyring/keyring.ts';
import type { Keyrings } from '../keyring/keyrings.ts';
import type { Logger } from '../telemetry/logger.ts';
import { EVENTS } from '../telemetry/names.ts';
import { hasLifecycle, type KekDescription, type Upstream } from '../upstream/provider.ts';

interface Known {
  readonly state: KekDescription['state'];
  /** Of the newest version; '' when there is none. */
  readonly version: string;
}

/**
 * Tells the keyrings what becomes of each KEK whose life is led here: what it is at the start, and each change, whether a call made it or its time
 * had come. A new version gives the keys that wrap under the KEK new DEKs, in the background.
 */
export class KekFollower {
  readonly #keyrings: Keyrings;
  readonly #logger: Logger;
  readonly #known = new Map<string, Known>();
  /** Keys that a call is rotating: the call gives them their new DEKs. */
  readonly #rotatedByCall = new Set<string>();
  readonly #followed: { onKekChange: ((kek: KekDescription) => void) | undefined }[] = [];
  #stopped = false;

  constructor(keyrings: Keyrings, logger: Logger) {
    this.#keyrings = keyrings;
    this.#logger = logger;
  }

  /** Before anything is served: no key may be used for a moment that was disabled before the restart. */
  async follow(upstreams: ReadonlyMap<string, Upstream>): Promise<void> {
    for (const [name, upstream] of upstreams) {
      if (!hasLifecycle(upstream)) continue;
      this.#followed.push(upstream);
      upstream.onKekChange = (kek) => this.changed(name, kek);
      for (const { kek } of await upstream.listKeks()) this.changed(name, kek);
    }
  }

  /** What a KEK is now. The same twice does nothing. */
  changed(upstreamName: string, kek: KekDescription): void {
    if (this.#stopped) return;
    this.#keyrings.kekChanged(upstreamName, kek);
    const id = idOf(upstreamName, kek.uri);
    const before = this.#known.get(id);
    const now = { state: kek.state, version: kek.versions.at(-1)?.version ?? '' };
    this.#known.set(id, now);
    if (before === undefined) return;
    const fields = { upstream: upstreamName, kek: kek.uri };
    if (now.state !== before.state) {
      this.#logger.info({ event: EVENTS.kekState, ...fields, state: now.state, before: before.state }, 'a KEK changed');
    }
    if (now.version === before.version) return;
    this.#logger.info({ event: EVENTS.kekVersion, ...fields, version: now.version }, 'a KEK has a new version');
    this.#renewDeks(upstreamName, kek.uri);
  }

  /** Runs a rotation that a call asked for on a key, which gives that key its new DEKs itself; other keys get them as ever. */
  async rotate(key: string, upstreamName: string, rotate: () => Promise<KekDescription>): Promise<KekDescription> {
    this.#rotatedByCall.add(key);
    try {
      const kek = await rotate();
      this.changed(upstreamName, kek);
      return kek;
    } finally {
      this.#rotatedByCall.delete(key);
    }
  }

  /** From now on nothing is passed on. */
  stop(): void {
    this.#stopped = true;
    for (const upstream of this.#followed) upstream.onKekChange = undefined;
  }

  #renewDeks(upstreamName: string, uri: string): void {
    for (const name of this.#keyrings.names()) {
      const keyring = this.#keyrings.byName(name);
      if (keyring === undefined || this.#rotatedByCall.has(name) || !wrapsUnder(keyring, upstreamName, uri)) continue;
      keyring.rotate().then(
        (deks) => this.#logger.info({ event: EVENTS.keyRotated, key: name, kek: uri, deks }, 'a key has new DEKs'),
        (thrown: unknown) => this.#rotationFailed(name, DekdError.from(thrown)),
      );
    }
  }

  /** The old DEKs go on encrypting until their own time is over: nothing to repeat. */
  #rotationFailed(key: string, { reason, message }: DekdError): void {
    if (this.#stopped) return;
    this.#logger.warn({ event: EVENTS.rotationFailed, key, reason, cause: message }, 'no new DEK yet');
  }
}

function wrapsUnder(keyring: Keyring, upstreamName: string, uri: string): boolean {
  return keyring.options.recipients.some(
    ({ kek, role }) => role !== 'recovery' && kek.upstreamName === upstreamName && kek.uri === uri,
  );
}

function idOf(upstreamName: string, uri: string): string {
  return JSON.stringify([upstreamName, uri]);
}
