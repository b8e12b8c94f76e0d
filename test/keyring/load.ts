import { DekdError } from '../../src/errors.ts';
import type { Opened, Sealed, TestKey } from './world.ts';

/** What one use of a held DEK met. */
export interface Use {
  readonly tenant: string;
  readonly atMs: number;
  readonly tookMs: number;
  /** Undefined when it failed, with that reason. */
  readonly grace: boolean | undefined;
  readonly reason: string | undefined;
}

interface Message {
  readonly pairs: { readonly tenant: string };
  readonly ciphertext: Buffer;
}

/** Uses DEKs again and again while the clock goes on. */
export class Load {
  readonly uses: Use[] = [];
  readonly #key: TestKey;
  readonly #messages: readonly Message[];

  constructor(key: TestKey, messages: readonly Message[]) {
    this.#key = key;
    this.#messages = messages;
  }

  /** On DEKs that are made for it, one a tenant. */
  static async of(key: TestKey, tenants: number, prefix = 't'): Promise<Load> {
    const messages: Message[] = [];
    for (let tenant = 0; tenant < tenants; tenant++) {
      const pairs = { tenant: `${prefix}${tenant}` };
      const { ciphertext } = await key.seal(pairs);
      messages.push({ pairs, ciphertext });
    }
    return new Load(key, messages);
  }

  /** Decrypts, and with `encrypts` encrypts, once for each tenant every `everyMs`. */
  async run(forMs: number, { everyMs = 200, encrypts = true } = {}): Promise<void> {
    const { clock } = this.#key.world;
    for (let pastMs = 0; pastMs < forMs; pastMs += everyMs) {
      for (const { pairs, ciphertext } of this.#messages) {
        this.#use(pairs.tenant, () => this.#key.decrypt(ciphertext, pairs));
        if (encrypts) this.#use(pairs.tenant, () => this.#key.encrypt(pairs));
      }
      await clock.advance(everyMs);
    }
  }

  /** Those of the uses that did not end well, for a test to expect none of. */
  get failed(): Use[] {
    return this.uses.filter(({ reason }) => reason !== undefined);
  }

  get slowestMs(): number {
    return Math.max(0, ...this.uses.map(({ tookMs }) => tookMs));
  }

  /** Forgets the uses so far. */
  forget(): void {
    this.uses.length = 0;
  }

  #use(tenant: string, call: () => Sealed | Opened | Promise<Sealed | Opened>): void {
    const { clock } = this.#key.world;
    const atMs = clock.bootMs();
    const note = (grace: boolean | undefined, reason?: string): void => {
      this.uses.push({ tenant, atMs, tookMs: clock.bootMs() - atMs, grace, reason });
    };
    const fail = (error: unknown): void => note(undefined, DekdError.from(error).reason);
    try {
      const used = call();
      if (used instanceof Promise) used.then(({ grace }) => note(grace), fail);
      else note(used.grace);
    } catch (error) {
      fail(error);
    }
  }
}

/** Chance that is the same in each run. */
export function seeded(count: number): number[] {
  let state = 1;
  return Array.from({ length: count }, () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  });
}
