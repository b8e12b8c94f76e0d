import { fromNative } from '../../crypto/native-errors.ts';
import { DekdError } from '../../errors.ts';
import type { DeletionRequest, KekChange, KekDescription, KekState } from '../provider.ts';
import type { LocalClock } from './clock.ts';
import { checkDeletionRequest, deletionCancelled, deletionRequested, requestLapsed, stateBefore } from './deletion.ts';
import { describeKek } from './description.ts';
import { DestructionClock } from './destruction-clock.ts';
import { writingFailure } from './errors.ts';
import type { KekKeys } from './kek-keys.ts';
import { checkLabels, checkName } from './labels.ts';
import type { LocalOptions } from './options.ts';
import { checkPartition, partitionId } from './partitions.ts';
import type { KekRecord, VersionRecord } from './records.ts';
import { destroyed, isRotationDue, type KekPolicy, policyOf, rotated } from './rotation.ts';
import type { Change, Keystore, StoredKek } from './store.ts';
import { rotationRefused, stateAfter, transitionRefused } from './transitions.ts';

/** They lie in the store record, which every change writes: about 2 MB at the limit. */
const MAX_DISABLED_PARTITIONS = 10_000;
/** A key can disable as many under a KEK even when others have used up the store's limit. */
const OWN_DISABLED_PARTITIONS = 1_000;

/** Who made a change that no principal asked for. */
const BY_SCHEDULE = 'rotation schedule';
const BY_EXPIRY = 'expiry';

export interface LifecycleParts {
  readonly options: Pick<LocalOptions, 'directory' | 'schedule' | 'keks'>;
  readonly clock: LocalClock;
  readonly store: Keystore;
  readonly kekKeys: KekKeys;
  /** Called after each change of a KEK that is on disk, also one whose call throws. */
  readonly onChange: (kek: KekDescription) => void;
}

/**
 * Everything that makes, changes and ends KEKs, on disk first and then in memory. Throws DekdError for a caller's fault and UpstreamFailure
 * `unreachable` when the disk does not take a change: nothing is changed then. What a failing disk took all the same is a DekdError that says so.
 */
export class Lifecycle {
  readonly #parts: LifecycleParts;
  readonly #destructionClock: DestructionClock;

  constructor(parts: LifecycleParts) {
    this.#parts = parts;
    this.#destructionClock = new DestructionClock(parts.clock);
    parts.store.onLateChange = (keks) => {
      for (const name of keks) this.#changed(name);
    };
  }

  describe(stored: StoredKek): KekDescription {
    return describeKek(this.#parts.store.id, stored, this.#policy(stored.record.name), this.#now());
  }

  create(name: string, labels: ReadonlyMap<string, string>, by: string): KekDescription {
    const { store } = this.#parts;
    checkName(name);
    const checkedLabels = checkLabels(labels);
    if (store.kek(name) !== undefined) {
      throw new DekdError('KEY_EXISTS', `a KEK named ${name} exists already in store ${store.id}`);
    }
    const now = this.#now();
    const record: KekRecord = {
      name,
      state: 'active',
      stateBefore: null,
      createdAt: now,
      changedAt: now,
      changedBy: by,
      labels: checkedLabels,
      deletion: null,
    };
    return this.#write(name, { keks: [record], versions: [this.#newVersion(name, 1, by, now)] });
  }

  rotate(stored: StoredKek, by: string): KekDescription {
    const { name, state } = stored.record;
    if (state !== 'active') throw rotationRefused(name, state);
    const number = Math.max(...stored.versions.keys()) + 1;
    const next = this.#newVersion(name, number, by, this.#now());
    return this.#write(name, { versions: rotated(stored, next, this.#policy(name).maxVersions) });
  }

  change(stored: StoredKek, change: KekChange, by: string): KekDescription {
    const { record } = stored;
    const state = this.#unlessExpired(record, stateAfter(record, change), change);
    if (state === record.state) return this.describe(stored);
    return this.#write(record.name, { keks: [this.#inState(record, state, by)] });
  }

  scheduleDeletion(stored: StoredKek, request: DeletionRequest): KekDescription {
    checkDeletionRequest(request);
    return this.#replace(stored, deletionRequested(stored.record, request, this.#now()));
  }

  cancelDeletion(stored: StoredKek, by: string): KekDescription {
    return this.#replace(stored, deletionCancelled(stored.record, by, this.#now()));
  }

  changePartition(
    stored: StoredKek,
    keyName: string,
    partition: ReadonlyMap<string, string>,
    change: 'disable' | 'enable',
    by: string,
  ): void {
    const { name: kek, state } = stored.record;
    const pairs = checkPartition(keyName, partition);
    if (state === 'destroyed') throw new DekdError('KEY_DESTROYED', `KEK ${kek} is destroyed: it refuses everything`);
    const present = stored.partitions.get(partitionId(keyName, pairs));
    if (change === 'disable' && present === undefined) {
      this.#refuseTooManyPartitions(stored, keyName);
      const record = { kek, keyName, pairs, disabledAt: this.#now(), disabledBy: by };
      this.#store({ partitions: [record] });
    }
    if (change === 'enable' && present !== undefined) this.#store({ removedPartitions: [present] });
  }

  /** Destroys the KEK when its deletion's time has come; to be called regularly for every KEK. */
  destroyWhenDue(stored: StoredKek): void {
    const { record } = stored;
    // Also after a destruction of which the disk did not say that it took place.
    if (record.state === 'destroyed') this.#parts.kekKeys.free(record.name, stored.versions.keys());
    if (record.deletion === null || !this.#destructionClock.hasCome(record.name, record.deletion)) return;
    const by = record.deletion.requestedBy.join(', ');
    const changedAt = this.#now();
    const state = stateAfter(record, 'destroy');
    this.#store({
      keks: [{ ...record, state, stateBefore: null, deletion: null, changedAt, changedBy: by }],
      versions: destroyed(stored, changedAt, by),
    });
    this.#parts.kekKeys.free(record.name, stored.versions.keys());
    this.#changed(record.name);
  }

  lapseWhenDue(stored: StoredKek): void {
    const lapsed = requestLapsed(stored.record, this.#now());
    if (lapsed !== undefined) this.#replace(stored, lapsed);
  }

  expireWhenDue({ record }: StoredKek): void {
    if (!this.#isExpired(record.name)) return;
    const state = stateAfter(record, 'expire');
    if (state !== record.state) this.#write(record.name, { keks: [this.#inState(record, state, BY_EXPIRY)] });
  }

  rotateWhenDue(stored: StoredKek): void {
    const { name, state } = stored.record;
    if (state === 'active' && isRotationDue(stored, this.#policy(name), this.#now())) this.rotate(stored, BY_SCHEDULE);
  }

  #policy(name: string): KekPolicy {
    return policyOf(this.#parts.options, name);
  }

  #isExpired(name: string): boolean {
    const { expiresAt } = this.#policy(name);
    return expiresAt !== undefined && this.#now() >= expiresAt;
  }

  /** An expired KEK never gets active: from archived that is refused, and one that was disabled is enabled into archived. */
  #unlessExpired(record: KekRecord, wanted: KekState, change: KekChange): KekState {
    const { name, state } = record;
    if (wanted !== 'active' || state === 'active' || !this.#isExpired(name)) return wanted;
    if (state === 'disabled') return 'archived';
    const expired = new Date(this.#policy(name).expiresAt!).toISOString();
    throw transitionRefused(
      name,
      state,
      'active',
      `it expired at ${expired}; set a later time before you ${change} it`,
    );
  }

  #inState(record: KekRecord, state: KekState, by: string): KekRecord {
    const before = state === 'disabled' ? stateBefore(record) : null;
    return { ...record, state, stateBefore: before, changedAt: this.#now(), changedBy: by };
  }

  #newVersion(kek: string, version: number, by: string, now: number): VersionRecord {
    try {
      const wrappedKey = this.#parts.kekKeys.create(kek, version);
      const made = { createdAt: now, createdBy: by, changedAt: now, changedBy: by };
      return { kek, version, state: 'active', ...made, wrappedKey };
    } catch (error) {
      throw fromNative(error);
    }
  }

  #refuseTooManyPartitions({ record, partitions }: StoredKek, keyName: string): void {
    const { store } = this.#parts;
    const own = [...partitions.values()].filter((partition) => partition.keyName === keyName).length;
    if (own < OWN_DISABLED_PARTITIONS) return;
    let count = 0;
    for (const name of store.names()) count += store.kek(name)?.partitions.size ?? 0;
    if (count < MAX_DISABLED_PARTITIONS) return;
    throw new DekdError(
      'QUOTA_EXCEEDED',
      `key ${keyName} has ${own} disabled partitions under KEK ${record.name} and store ${store.id} ${count}, the most that they take; ` +
        'enable some, or disable the whole key',
    );
  }

  /** Puts a changed record on disk; the same record changes nothing. */
  #replace(stored: StoredKek, record: KekRecord): KekDescription {
    if (record === stored.record) return this.describe(stored);
    return this.#write(record.name, { keks: [record] });
  }

  #write(name: string, change: Change): KekDescription {
    this.#store(change);
    return this.#changed(name);
  }

  #store(change: Change): void {
    const { store, options } = this.#parts;
    try {
      store.write(change);
    } catch (error) {
      throw error instanceof DekdError ? error : writingFailure(options.directory, error);
    }
  }

  #changed(name: string): KekDescription {
    const description = this.describe(this.#parts.store.kek(name)!);
    this.#parts.onChange(description);
    return description;
  }

  #now(): number {
    return Math.trunc(this.#parts.clock.wallMs());
  }
}
