import type { EncryptionContext } from '../crypto/context.ts';
import { DekdError } from '../errors.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import type { Counters } from './counters.ts';
import { type CreatedDek, createDek } from './create-dek.ts';
import { fromUpstream, keyRefused } from './failures.ts';
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

/** A partition for whose DEK upstreams may be asked. */
export interface AdmittedPartition {
  readonly partition: EncryptionContext;
  readonly charge: Charge;
}

/** Makes the DEKs of one key: admission before, and what a refusal says is remembered after. */
export class DekMaker {
  readonly #options: KeyOptions;
  readonly #counters: Counters;
  readonly #shared: Shared;
  readonly #underway: Underway;
  /** Refusals that came from a call and that no DEK's count has in it. */
  readonly #unheard = new WeakSet<DekdError>();

  constructor(options: KeyOptions, counters: Counters, shared: Shared, underway: Underway) {
    this.#options = options;
    this.#counters = counters;
    this.#shared = shared;
    this.#underway = underway;
  }

  /** Everything that can be said without spending a call; `payer` undefined = no caller's miss causes it. `make` must follow. */
  admit(partition: EncryptionContext, payer: Payer | undefined): AdmittedPartition {
    const options = this.#options;
    const counters = this.#counters;
    this.#shared.revocations.check(options.name, partition);
    this.#shared.negatives.check(this.#memory(partition), counters);
    const charge =
      payer === undefined ? FREE : this.#shared.quota.charge({ payer, options, counters, keks: wrapCalls(options) });
    return { partition, charge };
  }

  async make({ partition, charge }: AdmittedPartition, hold: Hold): Promise<CreatedDek> {
    try {
      return await this.#underway.run(
        partitionKey(partition),
        () => this.#attempt(partition, charge, hold),
        ({ dek }) => dek.free(),
      );
    } catch (thrown) {
      throw this.#explain(thrown, partition);
    } finally {
      charge.end();
    }
  }

  /** Whether an error of `make` is a refusal, and one that this has not been asked about: a remembered answer is not a second one. */
  refusal(thrown: unknown): 'none' | 'new' | 'remembered' {
    const error = DekdError.from(thrown);
    const { cause } = error;
    if (!(cause instanceof UpstreamFailure) || cause.class !== 'refused') return 'none';
    return this.#unheard.delete(error) ? 'new' : 'remembered';
  }

  async #attempt(partition: EncryptionContext, charge: Charge, hold: Hold): Promise<CreatedDek> {
    const options = this.#options;
    const { name, recipients } = options;
    const { clock, refusals, revocations } = this.#shared;
    // Again: both may have changed since the last round.
    revocations.check(name, partition);
    const state = keyState(options);
    if (state !== 'active') throw keyRefused(name, state);
    for (const { kek } of recipients) {
      if (!refusals.forbidsNew(kek, name, partitionKey(partition))) continue;
      throw fromUpstream(name, kek.upstreamName, new UpstreamFailure('unreachable', 'a refusal is pending'));
    }
    const wrapping = { options, wrap: options.wrap, counters: this.#counters, charge };
    return hold(() => withDeadline(clock, MISS_MS, (signal) => createDek(partition, clock, { ...wrapping, signal })));
  }

  #explain(thrown: unknown, partition: EncryptionContext): DekdError {
    if (!(thrown instanceof WrapFailure)) return DekdError.from(thrown);
    const { kek, failure } = thrown;
    const { name: keyName } = this.#options;
    const error = fromUpstream(keyName, kek.upstreamName, failure, kek.uri);
    if (failure.class === 'refused') {
      this.#shared.negatives.refused(this.#memory(partition), error);
      this.#unheard.add(error);
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
