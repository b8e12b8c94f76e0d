import type { EncryptionContext } from '../crypto/context.ts';
import { DekdError } from '../errors.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import type { CallPurpose } from '../upstream/provider.ts';
import type { Counters } from './counters.ts';
import { type CreatedDek, createDek } from './create-dek.ts';
import { fromUpstream, keyRefused } from './failures.ts';
import type { Kek } from './kek.ts';
import { type KeyOptions, MISS_MS } from './options.ts';
import { partitionKey } from './partition.ts';
import { type Charge, FREE } from './quota.ts';
import type { Shared } from './shared.ts';
import type { Payer } from './single-flight.ts';
import { keyState } from './standing.ts';
import { withDeadline } from './timing.ts';
import type { Underway } from './underway.ts';
import { WrapFailure, wrapCalls } from './wrap-dek.ts';

/** Runs `work` when there is room for what it makes. */
export type Hold = (work: () => Promise<CreatedDek>) => Promise<CreatedDek>;

/** Why a DEK is made, and on whose account. */
export interface Making {
  /** Whose miss causes it; undefined = no caller does. */
  readonly payer?: Payer | undefined;
  /** Default `miss`; else it takes the place of one that is held and may not be asked about. */
  readonly purpose?: CallPurpose;
  /** It is the second call after a refusal: what is remembered of the first does not count, and no recipient is left out, or who refused would not be asked. */
  readonly confirms?: boolean;
}

/** A partition for whose DEK upstreams may be asked. */
export interface AdmittedPartition {
  readonly partition: EncryptionContext;
  readonly charge: Charge;
  readonly making: Making;
}

/** What a KEK refused, as its `make` was told. */
export interface WrapRefusal {
  readonly kek: Kek;
  readonly failure: UpstreamFailure;
  /** It came from a call and has not been asked about before: a remembered answer is not a second one. */
  readonly isNew: boolean;
}

/** Makes the DEKs of one key: admission before, and what a refusal says is remembered after. */
export class DekMaker {
  readonly #options: KeyOptions;
  readonly #counters: Counters;
  readonly #shared: Shared;
  readonly #underway: Underway;
  /** Errors that are refusals, also when they are remembered; the new ones until they are asked about. */
  readonly #refusals = new WeakMap<DekdError, WrapRefusal>();

  constructor(options: KeyOptions, counters: Counters, shared: Shared, underway: Underway) {
    this.#options = options;
    this.#counters = counters;
    this.#shared = shared;
    this.#underway = underway;
  }

  /** Everything that can be said without spending a call. `make` must follow. */
  admit(partition: EncryptionContext, making: Making): AdmittedPartition {
    const { payer, confirms = false } = making;
    const options = this.#options;
    const counters = this.#counters;
    this.#shared.revocations.check(options.name, partition);
    if (!confirms) this.#shared.negatives.check(this.#memory(partition), counters);
    const charge =
      payer === undefined ? FREE : this.#shared.quota.charge({ payer, options, counters, keks: wrapCalls(options) });
    return { partition, charge, making };
  }

  async make(admitted: AdmittedPartition, hold: Hold): Promise<CreatedDek> {
    const { partition, charge } = admitted;
    try {
      return await this.#underway.run(
        partitionKey(partition),
        () => this.#attempt(admitted, hold),
        ({ dek }) => dek.free(),
      );
    } catch (thrown) {
      throw this.#explain(thrown, partition);
    } finally {
      charge.end();
    }
  }

  /** What an error of `admit` or `make` refused; undefined when it is no refusal. */
  refusal(thrown: unknown): WrapRefusal | undefined {
    const error = DekdError.from(thrown);
    const refusal = this.#refusals.get(error);
    if (refusal?.isNew === true) this.#refusals.set(error, { ...refusal, isNew: false });
    return refusal;
  }

  async #attempt({ partition, charge, making }: AdmittedPartition, hold: Hold): Promise<CreatedDek> {
    const { purpose = 'miss', confirms = false } = making;
    const options = this.#options;
    const { name, recipients } = options;
    const { clock, refusals, revocations } = this.#shared;
    // Again: both may have changed since the last round.
    revocations.check(name, partition);
    const state = keyState(options);
    if (state !== 'active') throw keyRefused(name, state);
    for (const { kek } of recipients) {
      if (confirms || !refusals.forbidsNew(kek, name, partitionKey(partition))) continue;
      throw fromUpstream(name, kek.upstreamName, new UpstreamFailure('unreachable', 'a refusal is pending'));
    }
    const wrap = confirms ? 'all' : options.wrap;
    const wrapping = { options, wrap, counters: this.#counters, charge, purpose, fresh: confirms } as const;
    return hold(() => withDeadline(clock, MISS_MS, (signal) => createDek(partition, clock, { ...wrapping, signal })));
  }

  #explain(thrown: unknown, partition: EncryptionContext): DekdError {
    if (!(thrown instanceof WrapFailure)) return DekdError.from(thrown);
    const { kek, failure } = thrown;
    const { name: keyName } = this.#options;
    const error = fromUpstream(keyName, kek.upstreamName, failure, kek.uri);
    if (failure.class === 'refused') {
      this.#shared.negatives.refused(this.#memory(partition), error);
      this.#refusals.set(error, { kek, failure, isNew: true });
      const scope = failure.scope ?? 'access';
      const partitionName = partitionKey(partition);
      this.#shared.refusals.followUp({ kek, scope, kekVersion: '', keyName, partitionKey: partitionName });
    }
    return error;
  }

  /** The name under which a refusal is remembered. */
  #memory(partition: EncryptionContext): string {
    return `wrap ${this.#options.name} ${partitionKey(partition)}`;
  }
}
