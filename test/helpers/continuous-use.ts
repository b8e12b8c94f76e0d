import { setTimeout as sleep } from 'node:timers/promises';
import type { DekdClient } from './client.ts';

/** A call that uses one held DEK. */
export interface Use {
  readonly name: string;
  readonly rpc: string;
  readonly request: object;
}

/** What became of one use, so far. Times are of performance.now(). */
export interface Used {
  readonly use: Use;
  served: number;
  /** When the last call that was served began, and when its answer came. */
  lastBegunMs: number;
  lastServedMs: number;
  /** When the first failure after that came. */
  refusedAtMs: number;
  /** `served_in_grace` of the last answer. */
  inGrace: boolean;
  /** Why the calls failed that did, `reason: text`. */
  readonly failures: string[];
  /** Of the last call; '' when it was served. */
  reason: string;
}

/** Between two calls of one use. */
const PAUSE_MS = 100;

/** Makes each use again and again, side by side, until it is stopped. */
export class ContinuousUse {
  readonly all: readonly Used[];
  readonly #client: DekdClient;
  readonly #pauseMs: number;
  readonly #loops: Promise<unknown>;
  #stopped = false;

  constructor(client: DekdClient, uses: readonly Use[], pauseMs = PAUSE_MS) {
    this.#client = client;
    this.#pauseMs = pauseMs;
    this.all = uses.map((use) => ({
      use,
      served: 0,
      lastBegunMs: 0,
      lastServedMs: 0,
      refusedAtMs: 0,
      inGrace: false,
      failures: [],
      reason: '',
    }));
    this.#loops = Promise.all(this.all.map((used) => this.#loop(used)));
  }

  /** Resolves when the last call of each of them failed. */
  async untilRefused(some: (used: Used) => boolean, withinMs: number): Promise<void> {
    const mine = this.all.filter(some);
    for (const end = performance.now() + withinMs; mine.some(({ reason }) => reason === ''); await sleep(10)) {
      if (performance.now() < end) continue;
      const names = mine.filter(({ reason }) => reason === '').map(({ use }) => use.name);
      throw new Error(`after ${withinMs} ms still served: ${names.join('; ')}`);
    }
  }

  /** `reason: text` of every call that failed. */
  get failures(): string[] {
    return this.all.flatMap(({ use, failures }) => failures.map((failure) => `${use.name}: ${failure}`));
  }

  /** Ends it when the calls under way are answered. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#loops;
  }

  async #loop(used: Used): Promise<void> {
    // Not all at the same moment.
    await sleep(Math.random() * this.#pauseMs);
    while (!this.#stopped) {
      const begunMs = performance.now();
      const { code, reason, text, message } = await this.#client.outcome(used.use.rpc, used.use.request);
      if (code !== 0 && used.reason === '') used.refusedAtMs = performance.now();
      used.reason = code === 0 ? '' : reason || `code ${code}`;
      if (code === 0) {
        used.served++;
        used.lastBegunMs = begunMs;
        used.lastServedMs = performance.now();
        used.inGrace = (message as { served_in_grace?: boolean }).served_in_grace === true;
      } else {
        used.failures.push(`${used.reason}: ${text}`);
      }
      await sleep(this.#pauseMs);
    }
  }
}

/**
 * Every use of two DEKs of a partition: one that encrypts and one that only decrypts. Makes them: the key's DEKs are rotated in between, so it
 * has to be called for all partitions of a key at once.
 */
export async function usesOf(
  { client, admin }: { readonly client: DekdClient; readonly admin: DekdClient },
  key: string,
  tenants: readonly string[],
): Promise<Use[]> {
  const seal = async (tenant: string): Promise<Buffer> => {
    const request = { key, plaintext: Buffer.from(tenant), encryption_context: { tenant } };
    return (await client.call('Encrypt', request)).message.ciphertext;
  };
  const before = await Promise.all(tenants.map(seal));
  await admin.call('RotateKey', { key });
  const after = await Promise.all(tenants.map(seal));
  return tenants.flatMap((tenant, at): Use[] => {
    const name = (what: string): string => `${what} of ${key}, ${tenant}`;
    const encryption_context = { tenant };
    const open = (ciphertext: Buffer | undefined): object => ({ ciphertext, encryption_context });
    return [
      { name: name('Encrypt'), rpc: 'Encrypt', request: { key, plaintext: Buffer.from('x'), encryption_context } },
      { name: name('GenerateDataKey'), rpc: 'GenerateDataKey', request: { key, encryption_context } },
      { name: name('Decrypt'), rpc: 'Decrypt', request: open(after[at]) },
      { name: name('Decrypt with a DEK that only decrypts'), rpc: 'Decrypt', request: open(before[at]) },
    ];
  });
}
