import type { SlotHandle } from '../../../native/binding.d.ts';
import { native } from '../../crypto/native.ts';
import { fromNative } from '../../crypto/native-errors.ts';
import { DekdError, invalidField, type Reason } from '../../errors.ts';
import { UpstreamFailure } from '../failure.ts';
import type {
  KekDescription,
  KekLifecycle,
  KekState,
  Upstream,
  UpstreamCallOptions,
  WrapContext,
  WrappedDek,
} from '../provider.ts';
import { formatLocalKek, parseLocalKek } from '../uri.ts';
import { loadingFailure, wrappingFailure, writingFailure } from './errors.ts';
import { KekKeys } from './kek-keys.ts';
import { checkLabels, checkName } from './labels.ts';
import type { LocalOptions } from './options.ts';
import type { VersionRecord } from './records.ts';
import type { Change, Keystore, StoredKek } from './store.ts';
import { freeStoreKeys, type StoreKeys } from './store-keys.ts';

const XAES_256_GCM = 1;
/** Byte of the dek-block: XAES-256-GCM, nonce 24 | 32 | tag 16 (docs/envelope.md). */
const WRAP_ALGORITHM = 6;
const WRAPPED_BYTES = 72;
const VERSION = /^[1-9][0-9]{0,14}$/;

const NOT_ACTIVE: Readonly<Record<Exclude<KekState, 'active'>, Reason>> = {
  disabled: 'KEY_DISABLED',
  archived: 'KEY_ARCHIVED',
  'pending-deletion': 'KEY_PENDING_DELETION',
  destroyed: 'KEY_DESTROYED',
};

/** A software KMS in this process. Everything is in memory and synchronous; only createKek and rotateKek touch the disk. */
export class LocalUpstream implements Upstream, KekLifecycle {
  readonly type = 'local';
  readonly warnings: readonly string[];
  readonly #directory: string;
  readonly #wallClock: () => number;
  readonly #store: Keystore;
  readonly #storeKeys: StoreKeys;
  readonly #kekKeys: KekKeys;
  #closed = false;

  /** Owns `store` and `storeKeys` from now on. */
  constructor(options: LocalOptions, store: Keystore, storeKeys: StoreKeys, isNew: boolean) {
    this.warnings = warnings(options, store.id, isNew);
    this.#directory = options.directory;
    this.#wallClock = options.wallClock ?? Date.now;
    this.#store = store;
    this.#storeKeys = storeKeys;
    this.#kekKeys = new KekKeys(store.id, storeKeys.kekWrap);
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
    const version = this.#wrappingVersion(kek, this.#usableKek(kek, options.signal));
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
    const stored = this.#usableKek(kek, options.signal);
    const key = this.#load(this.#unwrappingVersion(kek, stored, wrapped));
    try {
      return native.unwrapKey(key, XAES_256_GCM, wrapped.bytes, context.encoded, 'dek');
    } catch (error) {
      throw wrappingFailure(kek, error);
    }
  }

  async describe(kek: string, options: UpstreamCallOptions): Promise<KekDescription> {
    this.#refuseWhenOver(options.signal);
    return this.#describe(this.#find(kek) ?? this.#noSuchKek(kek));
  }

  async createKek(name: string, labels: ReadonlyMap<string, string>): Promise<KekDescription> {
    this.#refuseWhenOver();
    checkName(name);
    const checkedLabels = checkLabels(labels);
    if (this.#store.kek(name) !== undefined) {
      throw new DekdError('KEY_EXISTS', `a KEK named ${name} exists already in store ${this.#store.id}`);
    }
    const createdAt = this.#now();
    this.#write({
      keks: [{ name, state: 'active', createdAt, labels: checkedLabels }],
      versions: [this.#newVersion(name, 1, createdAt)],
    });
    return this.#describe(this.#store.kek(name)!);
  }

  async rotateKek(kek: string): Promise<KekDescription> {
    this.#refuseWhenOver();
    const normal = this.resolve(kek);
    const stored = this.#find(normal);
    if (stored === undefined) throw new DekdError('KEY_NOT_FOUND', `there is no KEK ${normal}`);
    const { name, state } = stored.record;
    if (state !== 'active') throw new DekdError(NOT_ACTIVE[state], `KEK ${normal} is ${state}`);
    const retired = activeVersions(stored).map((version) => ({ ...version, state: 'decrypt-only' as const }));
    const next = Math.max(...stored.versions.keys()) + 1;
    this.#write({ keks: [], versions: [...retired, this.#newVersion(name, next, this.#now())] });
    return this.#describe(stored);
  }

  async listKeks(): Promise<{ name: string; kek: KekDescription }[]> {
    this.#refuseWhenOver();
    return this.#store.names().map((name) => ({ name, kek: this.#describe(this.#store.kek(name)!) }));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#kekKeys.freeAll();
    freeStoreKeys(this.#storeKeys);
    this.#store.close();
  }

  #newVersion(kek: string, version: number, createdAt: number): VersionRecord {
    try {
      return { kek, version, state: 'active', createdAt, wrappedKey: this.#kekKeys.create(kek, version) };
    } catch (error) {
      throw fromNative(error);
    }
  }

  #write(change: Change): void {
    try {
      this.#store.write(change);
    } catch (error) {
      throw writingFailure(this.#directory, error);
    }
  }

  #usableKek(kek: string, signal: AbortSignal): StoredKek {
    this.#refuseWhenOver(signal);
    const stored = this.#find(kek) ?? this.#noSuchKek(kek);
    const { state } = stored.record;
    if (state === 'active') return stored;
    throw new UpstreamFailure('refused', `KEK ${kek} is ${state}`, { scope: 'kek', condition: state });
  }

  #wrappingVersion(kek: string, stored: StoredKek): VersionRecord {
    const [version] = activeVersions(stored);
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
    if (state === 'active' || state === 'decrypt-only') return version;
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

  #describe({ record, versions }: StoredKek): KekDescription {
    return {
      uri: formatLocalKek(this.#store.id, record.name),
      state: record.state,
      versions: [...versions.values()].map(({ version, state, createdAt }) => ({
        version: String(version),
        state,
        createdAt,
      })),
      labels: record.labels,
    };
  }

  #refuseWhenOver(signal?: AbortSignal): void {
    if (this.#closed) throw new UpstreamFailure('unreachable', `keystore ${this.#directory} was closed`);
    if (signal?.aborted) throw new UpstreamFailure('unreachable', 'the call was given up before it began');
  }

  #now(): number {
    return Math.trunc(this.#wallClock());
  }
}

/** A volume that is not mounted looks like a first start: whoever runs dekd must see that a store was made. */
function warnings(options: LocalOptions, storeId: string, isNew: boolean): string[] {
  if ('development' in options.rootKey) return ['development only: the root key lies beside the store'];
  if (!isNew) return [];
  return [`a new keystore (${storeId}) was made in ${options.directory}: it opens no ciphertext of an earlier one`];
}

/** At most one. */
function activeVersions(stored: StoredKek): VersionRecord[] {
  return [...stored.versions.values()].filter(({ state }) => state === 'active');
}
