import type { SlotHandle } from '../../../native/binding.d.ts';
import { native } from '../../crypto/native.ts';
import { DekdError, invalidField } from '../../errors.ts';
import { UpstreamFailure } from '../failure.ts';
import type {
  DeletionRequest,
  KekChange,
  KekDescription,
  KekLifecycle,
  Upstream,
  UpstreamCallOptions,
  WrapContext,
  WrappedDek,
} from '../provider.ts';
import { formatLocalKek, parseLocalKek } from '../uri.ts';
import { systemClock } from './clock.ts';
import { loadingFailure, openingError, wrappingFailure } from './errors.ts';
import { KekKeys } from './kek-keys.ts';
import { Lifecycle } from './lifecycle.ts';
import type { LocalOptions } from './options.ts';
import { partitionOf } from './partitions.ts';
import type { VersionRecord } from './records.ts';
import { activeVersion } from './rotation.ts';
import type { Keystore, StoredKek } from './store.ts';
import { freeStoreKeys, type StoreKeys } from './store-keys.ts';
import { Timekeeper } from './timekeeper.ts';

const XAES_256_GCM = 1;
/** Byte of the dek-block: XAES-256-GCM, nonce 24 | 32 | tag 16 (docs/envelope.md). */
const WRAP_ALGORITHM = 6;
const WRAPPED_BYTES = 72;
const VERSION = /^[1-9][0-9]{0,14}$/;

/** A software KMS in this process. Everything is in memory and synchronous; only changes of KEKs touch the disk. */
export class LocalUpstream implements Upstream, KekLifecycle {
  readonly type = 'local';
  onKekChange: ((kek: KekDescription) => void) | undefined = undefined;
  readonly #options: LocalOptions;
  readonly #isNew: boolean;
  readonly #store: Keystore;
  readonly #storeKeys: StoreKeys;
  readonly #kekKeys: KekKeys;
  readonly #lifecycle: Lifecycle;
  readonly #timekeeper: Timekeeper;
  #closed = false;

  /** Owns `store` and `storeKeys` from now on. */
  constructor(options: LocalOptions, store: Keystore, storeKeys: StoreKeys, isNew: boolean) {
    const clock = options.clock ?? systemClock;
    const kekKeys = new KekKeys(store.id, storeKeys.kekWrap);
    const onChange = (kek: KekDescription): void => this.onKekChange?.(kek);
    const onWarning = (warning: string): void => options.onWarning?.(warning);
    this.#options = options;
    this.#isNew = isNew;
    this.#store = store;
    this.#storeKeys = storeKeys;
    this.#kekKeys = kekKeys;
    this.#lifecycle = new Lifecycle({ options, clock, store, kekKeys, onChange });
    this.#timekeeper = new Timekeeper({ clock, store, lifecycle: this.#lifecycle, onWarning });
  }

  get warnings(): readonly string[] {
    return [...storeWarnings(this.#options, this.#store, this.#isNew), ...this.#timekeeper.warnings];
  }

  resolve(reference: string): string {
    const { storeId, name } = parseLocalKek(reference);
    if (storeId !== undefined && storeId !== this.#store.id) {
      throw invalidField(
        'kek',
        `${reference} lies in store ${storeId}; the store of this upstream is ${this.#store.id}`,
      );
    }
    return formatLocalKek(this.#store.id, name);
  }

  async wrap(kek: string, dek: SlotHandle, context: WrapContext, options: UpstreamCallOptions): Promise<WrappedDek> {
    const version = this.#wrappingVersion(kek, this.#usableKek(kek, 'wrap', context, options.signal));
    const key = this.#load(version);
    try {
      const bytes = native.wrapKey(key, XAES_256_GCM, dek, context.encoded);
      return { kekVersion: String(version.version), algorithm: WRAP_ALGORITHM, bytes };
    } catch (error) {
      throw wrappingFailure(kek, error);
    }
  }

  async unwrap(
    kek: string,
    wrapped: WrappedDek,
    context: WrapContext,
    options: UpstreamCallOptions,
  ): Promise<SlotHandle> {
    const stored = this.#usableKek(kek, 'unwrap', context, options.signal);
    const key = this.#load(this.#unwrappingVersion(kek, stored, wrapped));
    try {
      return native.unwrapKey(key, XAES_256_GCM, wrapped.bytes, context.encoded, 'dek');
    } catch (error) {
      throw wrappingFailure(kek, error);
    }
  }

  async describe(kek: string, options: UpstreamCallOptions): Promise<KekDescription> {
    this.#refuseWhenOver(options.signal);
    return this.#lifecycle.describe(this.#find(kek) ?? this.#noSuchKek(kek));
  }

  async createKek(name: string, labels: ReadonlyMap<string, string>, by: string): Promise<KekDescription> {
    this.#refuseWhenOver();
    return this.#lifecycle.create(name, labels, by);
  }

  async rotateKek(kek: string, by: string): Promise<KekDescription> {
    return this.#lifecycle.rotate(this.#existing(kek), by);
  }

  async changeKek(kek: string, change: KekChange, by: string): Promise<KekDescription> {
    return this.#lifecycle.change(this.#existing(kek), change, by);
  }

  async scheduleKekDeletion(kek: string, request: DeletionRequest): Promise<KekDescription> {
    return this.#lifecycle.scheduleDeletion(this.#existing(kek), request);
  }

  async cancelKekDeletion(kek: string, by: string): Promise<KekDescription> {
    return this.#lifecycle.cancelDeletion(this.#existing(kek), by);
  }

  async changePartition(
    kek: string,
    keyName: string,
    partition: ReadonlyMap<string, string>,
    change: 'disable' | 'enable',
    by: string,
  ): Promise<void> {
    this.#lifecycle.changePartition(this.#existing(kek), keyName, partition, change, by);
  }

  async listKeks(): Promise<{ name: string; kek: KekDescription }[]> {
    this.#refuseWhenOver();
    return this.#store.names().map((name) => ({ name, kek: this.#lifecycle.describe(this.#store.kek(name)!) }));
  }

  async backup(): Promise<Buffer> {
    this.#refuseWhenOver();
    try {
      return this.#store.backup();
    } catch (error) {
      throw openingError(this.#options.directory, error);
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timekeeper.close();
    this.#kekKeys.freeAll();
    freeStoreKeys(this.#storeKeys);
    this.#store.close();
  }

  /** Refuses what no DEK of this context may do, whatever its version. */
  #usableKek(kek: string, use: 'wrap' | 'unwrap', context: WrapContext, signal: AbortSignal): StoredKek {
    this.#refuseWhenOver(signal);
    const stored = this.#find(kek) ?? this.#noSuchKek(kek);
    const { state } = stored.record;
    if (state !== 'active' && !(state === 'archived' && use === 'unwrap')) {
      throw new UpstreamFailure('refused', `KEK ${kek} is ${state}`, { scope: 'kek', condition: state });
    }
    if (stored.partitions.size > 0 && stored.partitions.has(partitionOf(context.pairs))) {
      const problem = `this partition of key ${context.pairs.get('dekd:key')} is disabled under KEK ${kek}`;
      throw new UpstreamFailure('refused', problem, { scope: 'access', condition: 'disabled' });
    }
    return stored;
  }

  #wrappingVersion(kek: string, stored: StoredKek): VersionRecord {
    const version = activeVersion(stored);
    if (version !== undefined) return version;
    throw new UpstreamFailure('refused', `KEK ${kek} has no active version; rotate it`, { scope: 'kek' });
  }

  #unwrappingVersion(kek: string, stored: StoredKek, wrapped: WrappedDek): VersionRecord {
    const { algorithm, bytes, kekVersion } = wrapped;
    if (algorithm !== WRAP_ALGORITHM || bytes.length !== WRAPPED_BYTES) {
      const problem = `algorithm ${algorithm} and ${bytes.length} bytes, not ${WRAP_ALGORITHM} and ${WRAPPED_BYTES}`;
      throw new UpstreamFailure('invalid', `a DEK that KEK ${kek} wrapped does not have ${problem}`);
    }
    if (!VERSION.test(kekVersion)) {
      throw new UpstreamFailure('invalid', `${JSON.stringify(kekVersion)} is not a version of a local KEK`);
    }
    const version = stored.versions.get(Number(kekVersion));
    if (version === undefined) {
      throw new UpstreamFailure('refused', `KEK ${kek} has no version ${kekVersion}`, { scope: 'version' });
    }
    const { state } = version;
    if (state === 'active' || state === 'decrypt-only' || state === 'archived') return version;
    throw new UpstreamFailure('refused', `version ${kekVersion} of KEK ${kek} is ${state}`, {
      scope: 'version',
      condition: state,
    });
  }

  #load({ kek, version, wrappedKey }: VersionRecord): SlotHandle {
    try {
      return this.#kekKeys.load(kek, version, wrappedKey!);
    } catch (error) {
      throw loadingFailure(kek, version, error);
    }
  }

  /** A KEK that somebody wants to change, by any reference. */
  #existing(kek: string): StoredKek {
    this.#refuseWhenOver();
    const normal = this.resolve(kek);
    const stored = this.#find(normal);
    if (stored === undefined) throw new DekdError('KEY_NOT_FOUND', `there is no KEK ${normal}`);
    return stored;
  }

  /** A KEK by its normal form. */
  #find(kek: string): StoredKek | undefined {
    const prefix = formatLocalKek(this.#store.id, '');
    return kek.startsWith(prefix) ? this.#store.kek(kek.slice(prefix.length)) : undefined;
  }

  #noSuchKek(kek: string): never {
    throw new UpstreamFailure('refused', `store ${this.#store.id} has no KEK ${kek}`, {
      scope: 'kek',
      condition: 'missing',
    });
  }

  #refuseWhenOver(signal?: AbortSignal): void {
    if (this.#closed) throw new UpstreamFailure('unreachable', `keystore ${this.#options.directory} was closed`);
    if (signal?.aborted) throw new UpstreamFailure('unreachable', 'the call was given up before it began');
  }
}

function storeWarnings(options: LocalOptions, store: Keystore, isNew: boolean): string[] {
  const unknown = [...(options.keks?.keys() ?? [])].filter((name) => store.kek(name) === undefined);
  return [
    ...originWarnings(options, store.id, isNew),
    ...unknown.map((name) => `keks names ${name}, and the store has no KEK of that name`),
  ];
}

/** A volume that is not mounted looks like a first start: whoever runs dekd must see that a store was made. */
function originWarnings(options: LocalOptions, storeId: string, isNew: boolean): string[] {
  if ('development' in options.rootKey) return ['development only: the root key lies beside the store'];
  if (!isNew) return [];
  return [`a new keystore (${storeId}) was made in ${options.directory}: it opens no ciphertext of an earlier one`];
}
