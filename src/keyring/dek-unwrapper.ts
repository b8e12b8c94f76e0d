import { createHash } from 'node:crypto';
import type { EncryptionContext } from '../crypto/context.ts';
import { type DekBlock, parseDekBlock, wrapContext } from '../crypto/dek-block.ts';
import { unauthentic } from '../crypto/invalid-ciphertext.ts';
import { freeKey, type SlotHandle } from '../crypto/native.ts';
import type { DekdError } from '../errors.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import { checkPartition } from './admission.ts';
import type { Counters } from './counters.ts';
import { Dek, type DekRecipient, knownRecipients } from './dek.ts';
import { fromUpstream, keyRefused } from './failures.ts';
import type { Kek } from './kek.ts';
import { type KeyOptions, MISS_MS } from './options.ts';
import { partitionKey } from './partition.ts';
import type { Charge } from './quota.ts';
import type { Shared } from './shared.ts';
import type { Payer } from './single-flight.ts';
import { isDead } from './standing.ts';
import { withDeadline } from './timing.ts';
import type { Underway } from './underway.ts';
import { type UnwrapOutcome, unwrap } from './unwrap.ts';

/** A dek-block that a request brought and that no held DEK has verified. */
export interface UnknownBlock {
  readonly dekId: Buffer;
  readonly block: Buffer;
}

/** A block for whose DEK an upstream may be asked. Copies: the work may outlive the request, whose bytes are zeroed. */
export interface AdmittedBlock extends UnknownBlock {
  /** Of the same dek_id and block, and of no other. */
  readonly name: string;
  readonly parsed: DekBlock;
  readonly recipients: readonly DekRecipient[];
}

interface Attempt {
  readonly outcome: UnwrapOutcome;
  /** Those who could be asked, in their order. */
  readonly recipients: readonly DekRecipient[];
  readonly startedAtMs: number;
}

/** Unwraps the DEKs that ciphertexts of one key bring: admission before, and why it failed is remembered after. */
export class DekUnwrapper {
  readonly #options: KeyOptions;
  readonly #counters: Counters;
  readonly #shared: Shared;
  readonly #underway: Underway;

  constructor(options: KeyOptions, counters: Counters, shared: Shared, underway: Underway) {
    this.#options = options;
    this.#counters = counters;
    this.#shared = shared;
    this.#underway = underway;
  }

  /** Everything that can be said of a block without spending a call; `context` undefined = the caller needs none. */
  admit(unknown: UnknownBlock, context: EncryptionContext | undefined): AdmittedBlock {
    const block = Buffer.from(unknown.block);
    const dekId = Buffer.from(unknown.dekId);
    const parsed = parseDekBlock(block);
    const recipients = knownRecipients(parsed, this.#options);
    if (recipients.length === 0) throw unauthentic(new Error('no recipient is a KEK of this key'));
    if (context !== undefined) checkPartition(parsed.partition, context);
    this.#checkStanding(parsed, recipients);
    const name = createHash('sha256').update(dekId).update(block).digest('latin1');
    this.#shared.negatives.check(name, this.#counters);
    return { name, dekId, block, parsed, recipients };
  }

  /** What asking its recipients may cost, and the calls to `further` KEKs; throws QUOTA_EXCEEDED. Whoever is given it must end it. */
  charge({ recipients }: AdmittedBlock, payer: Payer, further: readonly Kek[] = []): Charge {
    const options = this.#options;
    const keks = [...recipients.map(({ kek }) => kek), ...further];
    return this.#shared.quota.charge({ payer, options, counters: this.#counters, keks });
  }

  /** The DEK, verified (dek_id and MAC), the caller's to free. */
  async unwrap(admitted: AdmittedBlock, charge: Charge): Promise<Dek> {
    const partition = partitionKey(admitted.parsed.partition);
    const { outcome, recipients, startedAtMs } = await this.#underway.run(
      partition,
      () => this.#attempt(admitted, charge),
      ({ outcome: flushed }) => {
        if (flushed.kind === 'opened') freeKey(flushed.handle);
      },
    );
    if (outcome.kind !== 'opened') throw this.#explain(admitted, outcome, recipients);
    return this.#dek(outcome.handle, admitted, outcome.by, startedAtMs);
  }

  async #attempt(admitted: AdmittedBlock, charge: Charge): Promise<Attempt> {
    const { dekId, block, parsed } = admitted;
    // Again: both may have changed since the last round.
    this.#checkStanding(parsed, admitted.recipients);
    const recipients = this.#askable(admitted);
    const { clock, room } = this.#shared;
    const context = wrapContext(parsed.keyName, dekId, parsed.partition);
    const counters = this.#counters;
    const startedAtMs = clock.bootMs();
    const mayEvict = !recipients.every(({ kek }) => kek.failedRecently(startedAtMs));
    let spent = recipients;
    const outcome = await room.holdForLoad(mayEvict, async () => {
      const task = { recipients, dekId, block, context, counters, payer: charge.payer };
      try {
        const result = await withDeadline(clock, MISS_MS, (signal) => unwrap({ ...task, signal }));
        spent = asked(recipients, result);
        return result;
      } finally {
        // Who waited in vain for our own room pays as well, or would come again at once and keep others out of it.
        for (const { kek } of spent) charge.spend(kek);
      }
    });
    return { outcome, recipients, startedAtMs };
  }

  /** While a refusal is not settled, only the recipient that refused may open what it refused: its line can be cut, and another's word would undo it. */
  #askable({ parsed, recipients }: AdmittedBlock): readonly DekRecipient[] {
    const { keyName, partition } = parsed;
    const subject = { keyName, partitionKey: partitionKey(partition), recipients };
    const askable = recipients.filter((one) => this.#shared.refusals.mayVouch(subject, one));
    if (askable.length > 0) return askable;
    const failure = new UpstreamFailure('unreachable', 'refusals of several recipients are pending');
    throw fromUpstream(keyName, recipients[0]?.kek.upstreamName ?? 'none', failure);
  }

  #dek(handle: SlotHandle, { dekId, block }: AdmittedBlock, by: DekRecipient, startedAtMs: number): Dek {
    const dek = new Dek(handle, dekId, block, this.#options, this.#counters, startedAtMs);
    dek.verified(startedAtMs, by.role, this.#shared.clock);
    return dek;
  }

  /** That neither a file nor what is known of the KEKs forbids the DEK. */
  #checkStanding({ partition }: DekBlock, recipients: readonly DekRecipient[]): void {
    this.#shared.revocations.check(this.#options.name, partition);
    for (const { kek, role } of recipients) {
      const { state } = kek.standing;
      if (role === 'authority' && isDead(state)) throw keyRefused(this.#options.name, state);
    }
  }

  #explain(
    { name, parsed }: AdmittedBlock,
    outcome: Exclude<UnwrapOutcome, { kind: 'opened' }>,
    recipients: readonly DekRecipient[],
  ): DekdError {
    const keyName = this.#options.name;
    switch (outcome.kind) {
      case 'invalid': {
        const error = unauthentic(new Error('no upstream could unwrap the DEK'));
        this.#shared.negatives.invalid(name, error);
        return error;
      }
      case 'refused': {
        const { kek, wrapped } = outcome.by;
        const scope = outcome.failure.scope ?? 'access';
        const error = fromUpstream(keyName, kek.upstreamName, outcome.failure, kek.uri);
        this.#shared.negatives.refused(name, error);
        this.#shared.refusals.followUp({
          kek,
          scope,
          kekVersion: wrapped.kekVersion,
          keyName,
          partitionKey: partitionKey(parsed.partition),
        });
        return error;
      }
      case 'unavailable':
        return fromUpstream(keyName, recipients[0]?.kek.upstreamName ?? 'none', outcome.failure);
    }
  }
}

/** They are asked in order, until one decides. */
function asked(recipients: readonly DekRecipient[], outcome: UnwrapOutcome): readonly DekRecipient[] {
  return 'by' in outcome ? recipients.slice(0, recipients.indexOf(outcome.by) + 1) : recipients;
}
