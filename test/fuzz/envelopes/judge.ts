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
    if (rpc === 'Decrypt') this.decrypted(request, answer);
    else if (rpc === 'Encrypt') await this.#opens(answer, request, request.plaintext);
    else if (rpc === 'GenerateDataKey') await this.#opens(answer, request, answer.plaintext);
    this.#world.serialize(rpc, answer);
    return 'answer';
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
  async #opens(answer: Message, request: Message, plaintext: Buffer): Promise<void> {
    if (request.dry_run) return;
    const { encryption_context, associated_data } = request;
    const opened: Message = await this.#world.handle('Decrypt', {
      ciphertext: Buffer.from(answer.ciphertext),
      encryption_context,
      associated_data,
      expected_key: request.key,
      dry_run: false,
    });
    if (!plaintext.equals(opened.plaintext)) throw new Error('what was sealed opens to something else');
  }
}
