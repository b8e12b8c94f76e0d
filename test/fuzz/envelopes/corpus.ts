import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Outcome } from './judge.ts';

/** A request as its bytes in hex, and how it ends. */
export interface CorpusInput {
  readonly rpc: string;
  readonly request: string;
  readonly outcome: Outcome;
}

/** Requests that open, and after them (their DEKs are held then) one short input for each way in which the code was found to end. */
export interface Corpus {
  readonly samples: readonly CorpusInput[];
  readonly inputs: readonly CorpusInput[];
}

const PATH = join(import.meta.dirname, '..', 'corpus', 'requests.json');

export function readCorpus(): Corpus {
  return JSON.parse(readFileSync(PATH, 'utf8')) as Corpus;
}

/** Longer inputs are not kept. */
const MAX_BYTES = 2_000;

/** Gathers a corpus while the fuzzer runs. */
export class CorpusBuilder {
  readonly #inputs = new Map<string, CorpusInput>();

  /** `end`: what tells the ways apart, e.g. the message of an error. */
  add(rpc: string, bytes: Buffer, outcome: Outcome, end: string): void {
    if (bytes.length > MAX_BYTES) return;
    // Numbers and names in a message are those of this input.
    const way = `${rpc} ${outcome} ${end.replaceAll(/"[^"]*"/g, '""').replaceAll(/\d+/g, 'N')}`;
    const known = this.#inputs.get(way);
    if (known !== undefined && known.request.length <= 2 * bytes.length) return;
    this.#inputs.set(way, { rpc, request: bytes.toString('hex'), outcome });
  }

  write(samples: readonly CorpusInput[]): number {
    const corpus: Corpus = { samples, inputs: [...this.#inputs.values()] };
    writeFileSync(PATH, `${JSON.stringify(corpus, null, 2)}\n`);
    return this.#inputs.size;
  }
}
