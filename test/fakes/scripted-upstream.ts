import { createKey, freeKey, type SlotHandle, unwrapKey, wrapKey } from '../../src/crypto/native.ts';
import {
  type FailureClass,
  type KekCondition,
  type RefusalScope,
  UpstreamFailure,
} from '../../src/upstream/failure.ts';
import type {
  KekDescription,
  KekState,
  Upstream,
  UpstreamCallOptions,
  UpstreamType,
  WrapContext,
  WrappedDek,
} from '../../src/upstream/provider.ts';
import type { MovableClock } from '../helpers/movable-clock.ts';

export type Operation = 'wrap' | 'unwrap' | 'describe';

/** How one call goes. `afterMs`: the answer comes so late; `hang`: never; `late`: at `afterMs`, whatever the signal says. */
export type Answer =
  | { readonly kind: 'ok'; readonly afterMs?: number; readonly late?: boolean }
  | { readonly kind: 'hang' }
  | { readonly kind: 'throw'; readonly thrown: unknown; readonly synchronously?: boolean }
  | { readonly kind: 'other-key' }
  | {
      readonly kind: 'fail';
      readonly class: FailureClass;
      readonly scope?: RefusalScope;
      readonly condition?: KekCondition;
      readonly retryAfterMs?: number;
      readonly afterMs?: number;
    };

export const OK: Answer = { kind: 'ok' };
export const HANG: Answer = { kind: 'hang' };
export const UNREACHABLE: Answer = { kind: 'fail', class: 'unreachable' };
export const THROTTLED: Answer = { kind: 'fail', class: 'throttled' };
export const UNAUTHENTICATED: Answer = { kind: 'fail', class: 'unauthenticated' };
export const INVALID: Answer = { kind: 'fail', class: 'invalid' };
export const OTHER_KEY: Answer = { kind: 'other-key' };

export function refused(scope: RefusalScope, condition?: KekCondition): Answer {
  return { kind: 'fail', class: 'refused', scope, ...(condition === undefined ? {} : { condition }) };
}

export interface Call {
  readonly operation: Operation;
  readonly kek: string;
  readonly version: string;
  readonly atMs: number;
  readonly context: WrapContext;
  readonly signal: AbortSignal;
  readonly fresh: boolean;
}

/** One rule of the script; the first that matches a call decides it. */
export interface Rule {
  readonly operation?: Operation;
  readonly kek?: string;
  readonly version?: string;
  /** Of the wrap context, e.g. `dekd:key` or a partition's name. */
  readonly pair?: readonly [name: string, value: string];
  readonly answer: Answer;
  /** How many calls it decides; endless without. */
  times?: number;
}

/** An upstream with real cryptography and scripted behaviour: KEKs are raw slots, made when they are first named. */
export class ScriptedUpstream implements Upstream {
  readonly type: UpstreamType;
  readonly warnings: readonly string[] = [];
  readonly calls: Call[] = [];
  allowsUnprovenOrigin = false;
  /** What describe says of a KEK, by its URI; `active` without. */
  readonly states = new Map<string, KekState>();
  /** The wrap algorithm that the next wrap of a KEK names, by its URI; 6 without. */
  readonly algorithms = new Map<string, number>();
  /** What the next wrap of a KEK is made with, by its URI. */
  readonly versions = new Map<string, string>();
  /** The versions that describe shows of a KEK, by its URI, the last one active; none without. */
  readonly describedVersions = new Map<string, readonly string[]>();
  #rules: Rule[] = [];
  readonly #clock: MovableClock;
  readonly #keks = new Map<string, SlotHandle>();

  constructor(clock: MovableClock, type: UpstreamType = 'local') {
    this.#clock = clock;
    this.type = type;
  }

  /** From now on, before older rules. */
  script(...rules: Rule[]): void {
    this.#rules.unshift(...rules);
  }

  /** Everything answers, or everything that `rule` matches. */
  answer(answer: Answer, rule: Omit<Rule, 'answer'> = {}): void {
    this.#rules = Object.keys(rule).length === 0 ? [{ answer }] : [{ ...rule, answer }, ...this.#rules];
  }

  count(operation?: Operation, kek?: string): number {
    return this.calls.filter(
      (call) => (operation === undefined || call.operation === operation) && (kek === undefined || call.kek === kek),
    ).length;
  }

  resolve(reference: string): string {
    return reference;
  }

  wrap(kek: string, dek: SlotHandle, context: WrapContext, options: UpstreamCallOptions): Promise<WrappedDek> {
    const kekVersion = this.versions.get(kek) ?? '1';
    return this.#run('wrap', kek, kekVersion, context, options, () => ({
      kekVersion,
      algorithm: this.algorithms.get(kek) ?? 6,
      bytes: wrapKey(this.#key(kek, kekVersion), 1, dek, context.encoded),
    }));
  }

  unwrap(kek: string, wrapped: WrappedDek, context: WrapContext, options: UpstreamCallOptions): Promise<SlotHandle> {
    return this.#run(
      'unwrap',
      kek,
      wrapped.kekVersion,
      context,
      options,
      () => {
        try {
          return unwrapKey(this.#key(kek, wrapped.kekVersion), 1, wrapped.bytes, context.encoded, 'dek');
        } catch (thrown) {
          throw new UpstreamFailure('invalid', 'the wrapped DEK does not open', { cause: thrown });
        }
      },
      () => createKey('dek'),
    );
  }

  describe(kek: string, options: UpstreamCallOptions): Promise<KekDescription> {
    return this.#run('describe', kek, '', { pairs: new Map(), encoded: Buffer.alloc(0) }, options, () => ({
      uri: kek,
      state: this.states.get(kek) ?? 'active',
      versions: (this.describedVersions.get(kek) ?? []).map((version, index, all) => ({
        version,
        state: index === all.length - 1 ? 'active' : 'decrypt-only',
        createdAt: 0,
      })),
      labels: new Map(),
    }));
  }

  async close(): Promise<void> {
    for (const handle of this.#keks.values()) freeKey(handle);
    this.#keks.clear();
  }

  #key(kek: string, version: string): SlotHandle {
    const name = `${kek} ${version}`;
    const known = this.#keks.get(name) ?? createKey('raw');
    this.#keks.set(name, known);
    return known;
  }

  #run<T>(
    operation: Operation,
    kek: string,
    version: string,
    context: WrapContext,
    { signal, fresh = false }: UpstreamCallOptions,
    work: () => T,
    otherKey: () => T = work,
  ): Promise<T> {
    const call = { operation, kek, version, atMs: this.#clock.bootMs(), context, signal, fresh };
    this.calls.push(call);
    const answer = this.#decide(call);
    if (answer.kind === 'throw' && answer.synchronously === true) throw answer.thrown;
    return this.#play(answer, signal, work, otherKey);
  }

  async #play<T>(answer: Answer, signal: AbortSignal, work: () => T, otherKey: () => T): Promise<T> {
    switch (answer.kind) {
      case 'ok':
        if (answer.afterMs !== undefined) await this.#pause(answer.afterMs);
        if (signal.aborted && answer.late !== true) throw new UpstreamFailure('unreachable', 'aborted');
        return work();
      case 'hang':
        return new Promise<T>((_, reject) => {
          signal.addEventListener('abort', () => reject(new UpstreamFailure('unreachable', 'aborted')));
        });
      case 'throw':
        throw answer.thrown;
      case 'other-key':
        return otherKey();
      case 'fail': {
        if (answer.afterMs !== undefined) await this.#pause(answer.afterMs);
        const { scope, condition, retryAfterMs } = answer;
        throw new UpstreamFailure(answer.class, `scripted: ${answer.class}`, {
          ...(scope === undefined ? {} : { scope }),
          ...(condition === undefined ? {} : { condition }),
          ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
        });
      }
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#clock.after(ms, resolve));
  }

  #decide(call: Call): Answer {
    const rule = this.#rules.find((one) => one.times !== 0 && matches(one, call));
    if (rule?.times !== undefined) rule.times--;
    return rule?.answer ?? OK;
  }
}

function matches(rule: Rule, call: Call): boolean {
  return (
    (rule.operation === undefined || rule.operation === call.operation) &&
    (rule.kek === undefined || rule.kek === call.kek) &&
    (rule.version === undefined || rule.version === call.version) &&
    (rule.pair === undefined || call.context.pairs.get(rule.pair[0]) === rule.pair[1])
  );
}
