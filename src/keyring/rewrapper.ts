import { LRUCache } from 'lru-cache';
import type { BlockRecipient } from '../crypto/dek-block.ts';
import { replaceBlock } from '../crypto/envelope.ts';
import { DekdError } from '../errors.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import { type KekDescription, RECIPIENT_TYPES } from '../upstream/provider.ts';
import type { Counters } from './counters.ts';
import type { Dek } from './dek.ts';
import type { AdmittedBlock, DekUnwrapper } from './dek-unwrapper.ts';
import { fromUpstream, keyRefused, tooMany } from './failures.ts';
import type { Kek } from './kek.ts';
import type { InlineEnvelope } from './located.ts';
import { type KeyOptions, MISS_MS, PROBE_INTERVAL_MS } from './options.ts';
import { partitionKey } from './partition.ts';
import type { Charge } from './quota.ts';
import type { Shared } from './shared.ts';
import { type Payer, SingleFlight, type Waiter, waitFor } from './single-flight.ts';
import { keyState } from './standing.ts';
import { withDeadline } from './timing.ts';
import { WrapFailure, type Wrapping, wrapCalls, wrapDek } from './wrap-dek.ts';

/** Rewraps under way for one key. */
const MAX_REWRAPS = 1_000;
/** New blocks that are remembered, and how long: where an upstream hides its versions, a rotation there is not seen before that. */
const MAX_REMEMBERED_BYTES = 4 * 1024 * 1024;
const REMEMBERED_MS = 3_600_000;

/** A recipient that a block should have now. */
interface Wanted {
  readonly type: number;
  readonly uri: string;
  /** undefined: the upstream does not show it, so any is as good. */
  readonly version: string | undefined;
}

/**
 * Gives envelopes of one key today's recipients. The DEK is unwrapped for that and zeroed afterwards; nothing enters the cache, since nobody proves
 * that the payload opens. All envelopes of one DEK and block get the same new block, or a rewrapped database would have as many blocks as rows.
 */
export class Rewrapper {
  readonly #options: KeyOptions;
  readonly #counters: Counters;
  readonly #shared: Shared;
  readonly #unwrapper: DekUnwrapper;
  readonly #flights = new SingleFlight<Buffer>();
  readonly #describing = new SingleFlight<string | undefined>();
  readonly #versions = new Map<Kek, { version: string | undefined; untilMs: number }>();
  /** Grows with each `forget`: what began before has another name. */
  #epoch = 0;
  readonly #blocks = new LRUCache<string, { block: Buffer; untilMs: number }>({
    maxSize: MAX_REMEMBERED_BYTES,
    sizeCalculation: ({ block }) => block.length,
  });

  constructor(options: KeyOptions, counters: Counters, shared: Shared, unwrapper: DekUnwrapper) {
    this.#options = options;
    this.#counters = counters;
    this.#shared = shared;
    this.#unwrapper = unwrapper;
  }

  /**
   * The envelope with today's recipients; not `changed`: it has them already, and is a copy. Throws INVALID_CIPHERTEXT for a block that is not of
   * this key, KEY_*, UPSTREAM_* when any recipient can't be wrapped for.
   */
  async rewrap(envelope: InlineEnvelope, waiter: Waiter): Promise<{ ciphertext: Buffer; changed: boolean }> {
    const state = keyState(this.#options);
    if (state !== 'active') throw keyRefused(this.#options.name, state);
    const admitted = this.#unwrapper.admit(envelope, undefined);
    const wanted = await waitFor(this.#wanted(waiter.principal), waiter);
    if (stands(admitted.parsed.recipients, wanted)) return { ciphertext: Buffer.from(envelope.bytes), changed: false };
    const name = `rewrap ${this.#epoch} ${admitted.name} ${JSON.stringify(wanted)}`;
    const block = this.#remembered(name) ?? (await waitFor(this.#wrapOnce(name, admitted, waiter.principal), waiter));
    // It may have been revoked while the DEK was wrapped.
    this.#shared.revocations.check(this.#options.name, admitted.parsed.partition);
    return { ciphertext: replaceBlock(envelope, block), changed: true };
  }

  /** A KEK changed, or the key was flushed: what was said before is no longer true, nor what is under way. */
  forget(): void {
    this.#epoch++;
    this.#versions.clear();
    this.#blocks.clear();
  }

  #remembered(name: string): Buffer | undefined {
    const known = this.#blocks.get(name);
    return known === undefined || this.#shared.clock.bootMs() > known.untilMs ? undefined : known.block;
  }

  #wrapOnce(name: string, admitted: AdmittedBlock, payer: Payer): Promise<Buffer> {
    this.#shared.negatives.check(name, this.#counters);
    if (this.#flights.has(name)) this.#counters.coalesced++;
    return this.#flights.run(name, () => {
      if (this.#flights.size >= MAX_REWRAPS) throw tooMany(this.#options.name, 'unwrapped');
      const charge = this.#unwrapper.charge(admitted, payer, wrapCalls(this.#options));
      return this.#wrapAnew(name, admitted, charge).finally(() => charge.end());
    });
  }

  async #wrapAnew(name: string, admitted: AdmittedBlock, charge: Charge): Promise<Buffer> {
    const { clock, room } = this.#shared;
    const dek = await this.#unwrapper.unwrap(admitted, charge);
    try {
      // The copies that prove the wraps need a slot.
      const block = await room.holdForLoad(true, () =>
        withDeadline(clock, MISS_MS, (signal) => this.#wrap(dek, admitted, { charge, signal })),
      );
      this.#blocks.set(name, { block, untilMs: clock.bootMs() + REMEMBERED_MS });
      return block;
    } catch (thrown) {
      throw this.#explain(thrown, name, admitted);
    } finally {
      dek.free();
    }
  }

  /** For all recipients also where the key says `wrap: any`: a block must not lose one because it was out for a moment. */
  async #wrap(dek: Dek, { parsed }: AdmittedBlock, call: Pick<Wrapping, 'charge' | 'signal'>): Promise<Buffer> {
    const wrapping = { options: this.#options, wrap: 'all', counters: this.#counters, ...call } as const;
    return (await wrapDek(dek.handle, parsed, wrapping)).block;
  }

  #explain(thrown: unknown, name: string, { parsed }: AdmittedBlock): DekdError {
    if (!(thrown instanceof WrapFailure)) return DekdError.from(thrown);
    const { kek, failure } = thrown;
    const keyName = this.#options.name;
    const error = fromUpstream(keyName, kek.upstreamName, failure, kek.uri);
    if (failure.class === 'refused') {
      const scope = failure.scope ?? 'access';
      this.#shared.negatives.refused(name, error);
      this.#shared.refusals.followUp({
        kek,
        scope,
        kekVersion: '',
        keyName,
        partitionKey: partitionKey(parsed.partition),
      });
    }
    return error;
  }

  /** What a block should have now; recovery KEKs are not asked for their versions. */
  async #wanted(payer: Payer): Promise<Wanted[]> {
    return Promise.all(
      this.#options.recipients.map(async ({ kek, role }) => ({
        type: RECIPIENT_TYPES[kek.upstream.type],
        uri: kek.uri,
        version: role === 'recovery' ? undefined : await this.#version(kek, payer),
      })),
    );
  }

  /** Asked once in some seconds, however many envelopes are rewrapped. */
  async #version(kek: Kek, payer: Payer): Promise<string | undefined> {
    const { clock } = this.#shared;
    const known = this.#versions.get(kek);
    if (known !== undefined && clock.bootMs() <= known.untilMs) return known.version;
    const epoch = this.#epoch;
    return this.#describing.run(`${epoch} ${kek.upstreamName} ${kek.uri}`, async () => {
      const version = await withDeadline(clock, MISS_MS, (signal) => this.#ask(kek, payer, signal));
      if (epoch === this.#epoch) this.#versions.set(kek, { version, untilMs: clock.bootMs() + PROBE_INTERVAL_MS });
      return version;
    });
  }

  async #ask(kek: Kek, payer: Payer, signal: AbortSignal): Promise<string | undefined> {
    const { name } = this.#options;
    let described: KekDescription;
    try {
      described = await kek.describe(signal, payer);
    } catch (thrown) {
      const failure = UpstreamFailure.from(thrown);
      // A right of its own: who may not describe a KEK may still wrap and unwrap with it.
      if (failure.class === 'refused' && failure.condition === undefined) return undefined;
      throw fromUpstream(name, kek.upstreamName, failure, kek.uri);
    }
    if (described.state !== 'active') throw keyRefused(name, described.state);
    return described.versions.find(({ state }) => state === 'active')?.version;
  }
}

function stands(recipients: readonly BlockRecipient[], wanted: readonly Wanted[]): boolean {
  if (recipients.length !== wanted.length) return false;
  return wanted.every(({ type, uri, version }, index) => {
    const recipient = recipients[index]!;
    const same = recipient.type === type && recipient.kekUri === uri;
    return same && (version === undefined || version === recipient.kekVersion);
  });
}
