import type { Handle } from './cryptoki.ts';
import type { Token } from './token.ts';

/** Finds the slots of present tokens by their label, and makes what dekd keeps of one. */
export interface TokenSource {
  slots(label: string): readonly Handle[];
  make(label: string, slot: Handle): Token;
}

/**
 * The tokens that were found, and for each list of labels those that may serve, the one that served last in front. A token is kept once, whichever lists
 * it is on: a login belongs to all sessions of a process at a token.
 */
export class Members {
  readonly #source: TokenSource;
  readonly #byLabel = new Map<string, readonly Token[]>();
  readonly #orders = new Map<string, Token[]>();

  constructor(source: TokenSource) {
    this.#source = source;
  }

  get all(): readonly Token[] {
    return [...this.#byLabel.values()].flat();
  }

  /** In the order in which to ask them; empty when none is present. Throws what the library throws. */
  of(labels: readonly string[]): readonly Token[] {
    const list = labels.join('\0');
    const known = this.#orders.get(list) ?? [];
    if (known.length > 0) return [...known];
    const tokens = labels.flatMap((label) => this.#labelled(label));
    // Agents begin at different tokens, and a child that was ended over one that hangs does not begin there for ever.
    const first = Math.floor(Math.random() * tokens.length);
    const order = [...tokens.slice(first), ...tokens.slice(0, first)];
    this.#orders.set(list, order);
    return [...order];
  }

  move(token: Token, end: 'front' | 'back'): void {
    for (const order of this.#orders.values()) {
      const at = order.indexOf(token);
      if (at < 0) continue;
      order.splice(at, 1);
      if (end === 'front') order.unshift(token);
      else order.push(token);
    }
  }

  /** The next call looks for them again. */
  clear(): void {
    this.#orders.clear();
    this.#byLabel.clear();
  }

  #labelled(label: string): readonly Token[] {
    const known = this.#byLabel.get(label) ?? [];
    if (known.length > 0) return known;
    const tokens = this.#source.slots(label).map((slot) => this.#source.make(label, slot));
    this.#byLabel.set(label, tokens);
    return tokens;
  }
}
