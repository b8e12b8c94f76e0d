import type {
  Administration,
  ChangedKek,
  ChangeTarget,
  DeletionFacts,
  DrillClass,
  DrillFacts,
  KekFacts,
  MemoryFacts,
  RevocationsFacts,
  UpstreamFacts,
} from '../api/administration.ts';
import type { Config } from '../config/config.ts';
import type { EncryptionContext } from '../crypto/context.ts';
import { arenaStatus } from '../crypto/native.ts';
import { DekdError, invalidField } from '../errors.ts';
import { systemClock } from '../keyring/clock.ts';
import type { Kek } from '../keyring/kek.ts';
import type { Keyring } from '../keyring/keyring.ts';
import type { Keyrings } from '../keyring/keyrings.ts';
import type { Policy } from '../policy/authorize.ts';
import type { Logger } from '../telemetry/logger.ts';
import { EVENTS } from '../telemetry/names.ts';
import { hasLifecycle, type KekChange, type KekLifecycle, type Upstream } from '../upstream/provider.ts';
import { describeKeks } from './describe-keks.ts';
import { Drills } from './drills.ts';
import type { KekFollower } from './kek-follower.ts';
import { KeyLifecycle, newestVersion, ownFailures } from './key-lifecycle.ts';
import { developmentKey, type Keks, keyOptions } from './key-options.ts';
import type { RevocationsFollower } from './revocations-follower.ts';
import type { UpstreamEdge } from './upstream-edges.ts';

export interface AdministrationParts {
  readonly config: Config;
  readonly version: string;
  readonly warnings: readonly string[];
  readonly upstreams: ReadonlyMap<string, Upstream>;
  /** Of these upstreams. */
  readonly edges: ReadonlyMap<string, UpstreamEdge>;
  readonly keks: Keks;
  readonly keyrings: Keyrings;
  readonly policy: Policy;
  readonly follower: KekFollower;
  /** Undefined when the configuration names no file of revocations. */
  readonly revocations?: Pick<RevocationsFollower, 'warnings' | 'namedWarnings' | 'facts'> | undefined;
  readonly logger: Logger;
}

/** What an upstream whose provider runs in processes of its own can tell. */
interface Children {
  readonly pids: readonly number[];
}

/** What the administrative calls change: KEKs, keyrings, and in the development profile the keys themselves. Each change is logged with who asked. */
export class DaemonAdministration implements Administration {
  readonly version: string;
  readonly profile: string;
  readonly custodians: number;
  readonly startedAtMs = Date.now();
  readonly #parts: AdministrationParts;
  readonly #lifecycle: KeyLifecycle;
  readonly #drills: Drills;

  constructor(parts: AdministrationParts) {
    this.#parts = parts;
    this.version = parts.version;
    this.profile = parts.config.profile;
    this.custodians = parts.config.profile === 'development' ? 1 : 2;
    this.#lifecycle = new KeyLifecycle(parts.follower, parts.upstreams);
    this.#drills = new Drills({
      upstreams: new Map([...parts.edges].map(([name, { drilled }]) => [name, drilled])),
      onOver: (upstream, startedAtMs) => this.#forgetRefusals(upstream, startedAtMs),
      clock: systemClock,
      logger: parts.logger,
    });
  }

  get warnings(): readonly string[] {
    return [...this.#parts.warnings, ...(this.#parts.revocations?.warnings ?? [])];
  }

  get configurationWarnings(): readonly string[] {
    return [...this.#parts.config.warnings, ...(this.#parts.revocations?.namedWarnings ?? [])];
  }

  get revocations(): RevocationsFacts | undefined {
    return this.#parts.revocations?.facts;
  }

  get upstreams(): readonly UpstreamFacts[] {
    return [...this.#parts.edges].map(([name, { raw, breaker }]) => ({
      name,
      type: raw.type,
      warnings: raw.warnings,
      breaker,
      drill: this.#drills.running(name),
      childPids: (raw as Partial<Children>).pids ?? [],
    }));
  }

  memory(): MemoryFacts {
    return arenaStatus();
  }

  async createKek(
    name: string,
    upstreamName: string,
    labels: ReadonlyMap<string, string>,
    by: string,
  ): Promise<ChangedKek & { usable: boolean }> {
    const { keyrings, follower } = this.#parts;
    const local = this.#localUpstream(upstreamName);
    const made = await ownFailures(local.upstream.createKek(name, labels, by));
    keyrings.forgetAnswers();
    if (this.profile === 'development') this.#serve(name);
    follower.changed(local.name, made);
    this.#log(EVENTS.keyCreated, { key: name, kek: made.uri, by }, 'a KEK was made');
    return { uri: made.uri, version: newestVersion(made), usable: keyrings.byName(name) !== undefined };
  }

  rotatableKeks(keyring: Keyring): readonly Kek[] {
    return this.#lifecycle.rotatable(keyring).map(({ kek }) => kek);
  }

  async rotateKeks(keyring: Keyring, by: string): Promise<ChangedKek | undefined> {
    const first = await this.#lifecycle.rotate(keyring, by);
    this.#log(EVENTS.keyRotated, { key: keyring.options.name, kek: first?.uri, by }, 'a key was rotated');
    return first;
  }

  changeableKeks(target: ChangeTarget): readonly Kek[] {
    return this.#lifecycle.changeable(target).map(({ kek }) => kek);
  }

  async changeKey(target: ChangeTarget, change: KekChange, by: string): Promise<void> {
    await this.#lifecycle.change(target, change, by);
    const { state } = target.keyring;
    this.#log(EVENTS.keyChanged, { ...loggedTarget(target), change, state, by }, 'a key’s state was changed');
  }

  async scheduleDeletion(target: ChangeTarget, waitingPeriodMs: number, by: string): Promise<DeletionFacts> {
    const { custodians } = this;
    const deletion = await this.#lifecycle.scheduleDeletion(target, { waitingPeriodMs, by, custodians });
    const { at, requestedBy } = deletion;
    const deletionAt = at === undefined ? undefined : new Date(at).toISOString();
    const fields = { ...loggedTarget(target), requestedBy, deletionAt, by };
    if (at === undefined) this.#log(EVENTS.deletionRequested, fields, 'a custodian asked for a key’s deletion');
    else this.#parts.logger.warn({ event: EVENTS.deletionScheduled, ...fields }, 'a key will be destroyed');
    return deletion;
  }

  async cancelDeletion(target: ChangeTarget, by: string): Promise<void> {
    await this.#lifecycle.cancelDeletion(target, by);
    this.#log(EVENTS.deletionCancelled, { ...loggedTarget(target), by }, 'a key’s deletion was withdrawn');
  }

  async changePartition(
    keyring: Keyring,
    partition: EncryptionContext,
    change: 'disable' | 'enable',
    by: string,
  ): Promise<number> {
    const purgedDeks = await this.#lifecycle.changePartition(keyring, partition, change, by);
    if (change === 'enable') this.#parts.keyrings.forgetAnswers();
    const fields = { key: keyring.options.name, partition: Object.fromEntries(partition), change, purgedDeks, by };
    this.#log(EVENTS.partitionChanged, fields, 'a partition was changed');
    return purgedDeks;
  }

  describeKeks(keyring: Keyring, signal: AbortSignal): Promise<readonly KekFacts[]> {
    return describeKeks(keyring, this.#parts.config.upstreams, signal);
  }

  flush(keyrings: readonly Keyring[], partition: EncryptionContext | undefined, by: string): number {
    let purgedDeks = 0;
    for (const { options } of keyrings) purgedDeks += this.#parts.keyrings.flush(options.name, partition);
    const keys = keyrings.map(({ options }) => options.name);
    this.#log(
      EVENTS.flushed,
      { keys, partition: partition && Object.fromEntries(partition), purgedDeks, by },
      'flushed',
    );
    return purgedDeks;
  }

  async warm(keyring: Keyring, partition: EncryptionContext, by: string): Promise<number> {
    const deks = await keyring.warm(partition);
    const fields = { key: keyring.options.name, partition: Object.fromEntries(partition), deks, by };
    this.#log(EVENTS.warmed, fields, 'a keyring was warmed');
    return deks;
  }

  startDrill(upstream: string, failureClass: DrillClass, durationMs: number, by: string): DrillFacts {
    return this.#drills.start(upstream, failureClass, durationMs, by);
  }

  stopDrill(upstream: string, by: string): boolean {
    return this.#drills.stop(upstream, by);
  }

  async backup(upstreamName: string, maxBytes: number, by: string): Promise<{ upstream: string; store: Uint8Array }> {
    const { name, upstream } = this.#localUpstream(upstreamName);
    const store = await ownFailures(upstream.backup());
    if (store.length > maxBytes) {
      const text = `the keystore of upstream ${name} has ${store.length} bytes, the caller takes ${maxBytes}; \`dekctl keystore backup\` takes 64 MiB (max_bytes), and once dekd is stopped its directory can be copied`;
      throw new DekdError('MESSAGE_TOO_LARGE', text, { metadata: { upstream: name } });
    }
    this.#log(EVENTS.backup, { upstream: name, bytes: store.length, by }, 'a keystore was backed up');
    return { upstream: name, store };
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

  /** What was refused in a drill says nothing any more. */
  #forgetRefusals(upstream: string, sinceMs: number): void {
    const { keyrings } = this.#parts;
    keyrings.forgetAnswers();
    keyrings.forgetRefusals(upstream, sinceMs);
  }

  #localUpstream(wanted: string): { name: string; upstream: KekLifecycle } {
    const able: { name: string; upstream: KekLifecycle }[] = [];
    for (const [name, upstream] of this.#parts.upstreams) if (hasLifecycle(upstream)) able.push({ name, upstream });
    const names = able.map(({ name }) => name).join(', ');
    if (wanted === '' && able.length > 1) throw invalidField('upstream', `is empty; choose one of: ${names}`);
    const found = wanted === '' ? able[0] : able.find(({ name }) => name === wanted);
    if (found !== undefined) return found;
    throw invalidField('upstream', `"${wanted}" is not a local upstream; there is: ${names || 'none'}`);
  }

  #log(event: string, fields: object, text: string): void {
    this.#parts.logger.info({ event, ...fields }, text);
  }
}

/** `kek` only when the call named one. */
function loggedTarget({ keyring, kek }: ChangeTarget): { key: string; kek?: string } {
  const key = keyring.options.name;
  return kek === '' ? { key } : { key, kek };
}
