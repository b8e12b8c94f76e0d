import { isDeepStrictEqual } from 'node:util';
import { DekdError, type Reason } from '../../../src/errors.ts';
import { MalformedMessage } from '../../../src/transport/transport.ts';
import type { Sample } from './samples.ts';
import type { Message, World } from './world.ts';

/** How a request ended: an answer that is right, or a refusal that a caller may get. */
export type Outcome = 'answer' | Reason;

const REFUSALS: ReadonlySet<Reason> = new Set([
  'INVALID_REQUEST',
  'INVALID_CIPHERTEXT',
  'POLICY_DENIED',
  'KEY_NOT_FOUND',
  'KEY_MISMATCH',
  // Of a KEK version that the upstream does not have.
  'UPSTREAM_REFUSED',
]);

/** UNKNOWN, INTERNAL, DATA_LOSS */
const NOT_THE_CALLERS: ReadonlySet<number> = new Set([2, 13, 15]);

/** Says what an outcome is; throws when it is none that may be. */
export class Judge {
  readonly #world: World;
  readonly #samples: ReadonlyMap<string, Sample>;

  constructor(world: World, samples: ReadonlyMap<string, Sample>) {
    this.#world = world;
    this.#samples = samples;
  }

  refusal(thrown: unknown): Outcome {
    const status = this.#world.status(thrown);
    if (status.message === '' || NOT_THE_CALLERS.has(status.code)) throw new Error(`ends with code ${status.code}`);
    // What src/daemon/rpc-errors.ts makes of it.
    if (thrown instanceof MalformedMessage) return 'INVALID_REQUEST';
    if (thrown instanceof DekdError && REFUSALS.has(thrown.reason)) return thrown.reason;
    throw new Error(`an error that no caller should get: ${String(thrown)}`, { cause: thrown });
  }

  async answer(rpc: string, request: Message, answer: Message): Promise<Outcome> {
    this.#world.serialize(rpc, answer);
    if (rpc.endsWith('Batch')) await this.#items(rpc.slice(0, -'Batch'.length), request.items, answer.results);
    else await this.#one(rpc, request, answer);
    return 'answer';
  }

  async #one(rpc: string, request: Message, answer: Message): Promise<void> {
    switch (rpc) {
      case 'Decrypt':
        return this.decrypted(request, answer);
      case 'Encrypt':
        return this.#opens(answer.ciphertext, request, request.plaintext);
      case 'GenerateDataKey':
        return this.#opens(answer.ciphertext, request, answer.plaintext);
      case 'ReEncrypt':
        return this.#opens(answer.ciphertext, destinationOf(request), this.#sourceOf(request).plaintext);
      case 'Rewrap':
        if (answer.changed || !request.ciphertext.equals(answer.ciphertext)) throw new Error('a rewrap changed it');
    }
  }

  async #items(rpc: string, items: readonly Message[], results: readonly Message[]): Promise<void> {
    if (results.length !== items.length) throw new Error(`${results.length} results for ${items.length} items`);
    for (const [at, { status, response }] of results.entries()) {
      if (status.code === 0) await this.#one(rpc, items[at], response);
      else if (NOT_THE_CALLERS.has(status.code)) throw new Error(`item ${at} ends with code ${status.code}`);
    }
  }

  /** What a ReEncrypt opened is a sample, with its context and associated data. */
  #sourceOf(request: Message): Sample {
    const sample = this.#samples.get(request.ciphertext.toString('latin1'));
    const isRight =
      sample !== undefined &&
      isDeepStrictEqual({ ...request.source_encryption_context }, { ...sample.context }) &&
      sample.associatedData.equals(request.source_associated_data);
    if (!isRight) throw new Error('what nobody made was re-encrypted');
    return sample;
  }

  /** Only a sample opens, byte for byte, with its context and associated data, and to its plaintext. */
  decrypted(request: Message, answer: Message): void {
    const envelope: Buffer = request.ciphertext;
    if (request.dry_run) {
      if (answer.plaintext.length !== 0) throw new Error('a dry run gave a plaintext');
      return;
    }
    const sample = this.#samples.get(envelope.toString('latin1'));
    if (sample === undefined) throw new Error('an envelope that nobody made was opened');
    const right =
      isDeepStrictEqual({ ...request.encryption_context }, { ...sample.context }) &&
      sample.associatedData.equals(request.associated_data) &&
      sample.plaintext.equals(answer.plaintext) &&
      answer.key === sample.key;
    if (!right) throw new Error('opened with another context or associated data, or to another plaintext');
  }

  /** What was just sealed opens to `plaintext`. */
  async #opens(ciphertext: Uint8Array, request: Message, plaintext: Buffer): Promise<void> {
    if (request.dry_run) return;
    const { encryption_context, associated_data } = request;
    const opened: Message = await this.#world.handle('Decrypt', {
      ciphertext: Buffer.from(ciphertext),
      encryption_context,
      associated_data,
      expected_key: request.key,
      dry_run: false,
    });
    if (!plaintext.equals(opened.plaintext)) throw new Error('what was sealed opens to something else');
  }
}

function destinationOf(request: Message): Message {
  return {
    key: request.destination_key,
    encryption_context: request.destination_encryption_context,
    associated_data: request.destination_associated_data,
    dry_run: false,
  };
}
