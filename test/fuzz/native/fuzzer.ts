import type { SlotKind } from '../../../src/crypto/native.ts';
import * as binding from '../../../src/crypto/native.ts';
import { Random } from '../random.ts';
import { type Case, type EntryPoint, expect, expectEqual } from './case.ts';
import { CHANNEL_CALLS } from './channel-calls.ts';
import { hostile, traps } from './hostile.ts';
import { INDEX_CALLS } from './index-calls.ts';
import { FileOf, KEY_CALLS } from './key-calls.ts';
import { MAC_CALLS } from './mac-calls.ts';
import { Model } from './model.ts';
import { Place } from './place.ts';
import { PROCESS_CALLS } from './process-calls.ts';
import { SEAL_CALLS } from './seal-calls.ts';
import { WRAP_CALLS } from './wrap-calls.ts';

export const ENTRY_POINTS: Readonly<Record<string, EntryPoint>> = {
  ...KEY_CALLS,
  ...MAC_CALLS,
  ...INDEX_CALLS,
  ...SEAL_CALLS,
  ...WRAP_CALLS,
  ...CHANNEL_CALLS,
  ...PROCESS_CALLS,
};

/** Of native/binding.d.ts; with the tables there can be no other. */
const CODES: ReadonlySet<unknown> = new Set([
  'ERR_INVALID_ARG',
  'ERR_STALE_HANDLE',
  'ERR_WRONG_KIND',
  'ERR_NO_MEMORY',
  'ERR_NO_LOCKED_MEMORY',
  'ERR_NOT_OPEN',
  'ERR_AUTHENTICATION',
  'ERR_UNSUPPORTED_SUITE',
  'ERR_MESSAGE_LIMIT',
  'ERR_KEY_LENGTH',
  'ERR_NO_KEY',
  'ERR_KEY_PACKET',
  'ERR_SYSTEM',
  'ERR_CRYPTO',
]);

const MAX_PENDING = 8;
/** One call in so many is followed by a collection, where node runs with --expose-gc. */
const COLLECT_EVERY = 3_000;
const CONSTANTS = ['USE_RAW', 'USE_MESSAGE', 'USE_DATA_KEY'];

type Call = (...values: unknown[]) => unknown;

interface Plan {
  readonly args: unknown[];
  /** Codes with which it must fail, one of them; undefined when it must succeed. */
  readonly codes: ReadonlySet<string> | undefined;
  readonly isHostile: boolean;
}

/** A new entry point that nobody taught the fuzzer is a failure. */
export function checkComplete(): void {
  const exported = Object.keys(binding.native).filter((name) => !CONSTANTS.includes(name));
  expectEqual(exported.sort(), Object.keys(ENTRY_POINTS).sort(), 'entry points');
}

/** One thread's random calls, each with the outcome that the model says. */
export class NativeFuzzer {
  readonly calls: Record<string, number> = Object.fromEntries(Object.keys(ENTRY_POINTS).map((name) => [name, 0]));
  readonly failures: Record<string, number> = {};
  readonly #model: Model;
  readonly #place: Place;
  readonly #pending: Promise<void>[] = [];
  readonly #names = Object.keys(ENTRY_POINTS);

  private constructor(model: Model, place: Place) {
    this.#model = model;
    this.#place = place;
  }

  static async make(seed: number, scarce: readonly SlotKind[]): Promise<NativeFuzzer> {
    return new NativeFuzzer(new Model(new Random(seed), scarce), await Place.make());
  }

  /** Makes one call; throws when it does not end as it must. */
  async step(): Promise<void> {
    const { random } = this.#model;
    const name = this.#model.isFull ? 'freeKey' : random.pick(this.#names);
    const entry = ENTRY_POINTS[name]!;
    const one = entry.make(this.#model, this.#place);
    if (one === undefined) return;
    const plan = this.#plan(one);
    try {
      if (entry.isAsync === true) await this.#callAsync(name, one, plan);
      else this.#call(name, one, plan);
      expectEqual(traps.sprung, 0, 'traps sprung');
    } catch (error) {
      throw new Error(`${name}(${plan.args.map(describe).join(', ')})`, { cause: error });
    }
    if (random.chance(1, COLLECT_EVERY)) globalThis.gc?.();
  }

  /** Waits for what is under way, and frees everything. */
  async close(): Promise<void> {
    await this.#settle(0);
    for (const key of [...this.#model.keys]) {
      binding.freeKey(key.handle);
      this.#model.remove(key);
    }
    this.#place.close();
  }

  /** Half of the calls are as the model has them, the others get one or two values that must be refused, or too few. */
  #plan({ args, roles, fails, refused }: Case): Plan {
    const { random } = this.#model;
    if (roles.length === 0 || random.chance(1, 2)) {
      return { args, codes: fails === undefined ? undefined : new Set([fails]), isHostile: false };
    }
    const invalid = { codes: new Set(['ERR_INVALID_ARG']), isHostile: true };
    if (random.chance(1, 10)) return { args: args.slice(0, random.below(args.length)), ...invalid };
    if (refused !== undefined && random.chance(1, 5)) return { args: refused(), ...invalid };
    const wrong = [...args];
    const codes = new Set<string>();
    for (let count = 1 + random.below(2); count > 0; count--) {
      const at = random.below(args.length);
      const { value, code } = hostile(roles[at]!, this.#model, args[at], args[at - 1]);
      if (wrong[at] !== args[at]) continue;
      wrong[at] = value;
      codes.add(code);
    }
    return { args: wrong, codes, isHostile: true };
  }

  #call(name: string, one: Case, plan: Plan): void {
    const outputs = plan.isHostile ? (one.outputs ?? []) : [];
    const before = outputs.map((bytes) => Buffer.from(bytes));
    let result: unknown;
    try {
      result = this.#invoke(name, plan.args);
    } catch (error) {
      this.#failed(name, one, plan, error);
      for (const [at, bytes] of outputs.entries()) {
        expect(Buffer.compare(bytes, before[at]!) === 0, 'a refused call wrote to its output');
      }
      return;
    }
    expect(plan.codes === undefined, `succeeded, and should be ${[...(plan.codes ?? [])].join(' or ')}`);
    one.check?.(result as never);
  }

  async #callAsync(name: string, one: Case, plan: Plan): Promise<void> {
    const promise = this.#invoke(name, plan.args);
    expect(promise instanceof Promise, 'not a promise');
    if (!plan.isHostile) one.afterCall?.();
    const ended = (promise as Promise<unknown>).then(
      (result) => {
        expect(plan.codes === undefined, `succeeded, and should be ${[...(plan.codes ?? [])].join(' or ')}`);
        one.check?.(result as never);
      },
      (error: unknown) => this.#failed(name, one, plan, error),
    );
    // Until it is waited for nobody listens.
    ended.catch(() => {});
    this.#pending.push(ended);
    await this.#settle(this.#model.random.below(MAX_PENDING));
  }

  #invoke(name: string, args: readonly unknown[]): unknown {
    this.calls[name] = (this.calls[name] ?? 0) + 1;
    const call = (binding.native as unknown as Record<string, Call>)[name]!;
    const at = args.findIndex((arg) => FileOf.bytesOf(arg) !== undefined);
    if (at < 0) return call(...args);
    return this.#place.withFile(FileOf.bytesOf(args[at])!, (fd) => call(...args.with(at, fd)));
  }

  /** That a call failed as it must. */
  #failed(name: string, one: Case, plan: Plan, error: unknown): void {
    const code = (error as { code?: string } | null)?.code ?? 'none';
    const isCoded = error instanceof Error && CODES.has(code) && error.message !== '';
    if (!isCoded) throw new Error('an error that is not documented', { cause: error });
    this.failures[code] = (this.failures[code] ?? 0) + 1;
    if (code === 'ERR_NO_MEMORY' && one.makes !== undefined && this.#model.scarce.includes(one.makes)) return;
    expect(plan.codes?.has(code) === true, `${code}, not ${[...(plan.codes ?? ['a result'])].join(' or ')}: ${name}`);
    if (!plan.isHostile) one.checkFailure?.();
  }

  async #settle(atMost: number): Promise<void> {
    while (this.#pending.length > atMost) await this.#pending.shift();
  }
}

function describe(value: unknown): string {
  const file = FileOf.bytesOf(value);
  if (file !== undefined) return `a file of ${file.length} bytes`;
  if (ArrayBuffer.isView(value)) return Object.prototype.toString.call(value);
  return typeof value === 'number' || typeof value === 'string' ? JSON.stringify(value).slice(0, 40) : typeof value;
}
