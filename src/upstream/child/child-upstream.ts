import { closeKeyChannel, openKeyChannel, type SlotHandle } from '../../crypto/native.ts';
import { UpstreamFailure } from '../failure.ts';
import type {
  KekDescription,
  Upstream,
  UpstreamCallOptions,
  UpstreamType,
  WrapContext,
  WrappedDek,
} from '../provider.ts';
import { ChildPool } from './child-pool.ts';
import { ChildProcess, type ReadAnswer } from './child-process.ts';
import type { ChildUpstreamOptions, ProviderFacts } from './child-provider.ts';
import type { HandoverEnds } from './handover.ts';
import type { CallRequest } from './messages.ts';
import { parseDescription, parseWrapped } from './replies.ts';

const DEFAULT_MAX_CALLS = 1_000;
const DEFAULT_IDLE_MS = 60_000;

export interface ChildUpstreamSettings<Options extends ChildUpstreamOptions> {
  readonly facts: ProviderFacts<Options>;
  readonly options: Options;
  readonly onWarning: (warning: string) => void;
}

/** An upstream whose provider runs in child processes: the agent loads no SDK and holds no credential of it. */
export class ChildUpstream<Options extends ChildUpstreamOptions> implements Upstream {
  readonly type: UpstreamType;
  readonly #facts: ProviderFacts<Options>;
  readonly #options: Options;
  readonly #pool: ChildPool;
  /** Of children, for children: see handover.ts. */
  #handover: HandoverEnds | undefined;

  /** Throws DekdError when the provider refuses its settings. */
  static async open<Options extends ChildUpstreamOptions>(
    settings: ChildUpstreamSettings<Options>,
  ): Promise<ChildUpstream<Options>> {
    const upstream = new ChildUpstream(settings);
    try {
      await upstream.#pool.open();
    } catch (error) {
      await upstream.close();
      throw error;
    }
    return upstream;
  }

  private constructor({ facts, options, onWarning }: ChildUpstreamSettings<Options>) {
    this.type = facts.type;
    this.#facts = facts;
    this.#options = options;
    const { parent, child } = openKeyChannel();
    const handover = { in: parent, out: child };
    this.#handover = handover;
    this.#pool = new ChildPool({
      start: (events) => ChildProcess.start(facts, options, handover, events),
      maxCalls: options.maxCalls ?? DEFAULT_MAX_CALLS,
      idleMs: options.idleMs ?? DEFAULT_IDLE_MS,
      isWarm: options.warmChild ?? true,
      onWarning,
    });
  }

  get warnings(): readonly string[] {
    return this.#pool.warnings;
  }

  get allowsUnprovenOrigin(): boolean {
    return this.#options.origin === 'unproven';
  }

  /** Of the processes that run for it now. */
  get pids(): readonly number[] {
    return this.#pool.pids;
  }

  resolve(reference: string): string {
    return this.#facts.resolve(reference, this.#options);
  }

  endpoint(kek: string): string {
    return this.#facts.endpoint?.(kek, this.#options) ?? '';
  }

  wrap(kek: string, dek: SlotHandle, context: WrapContext, options: UpstreamCallOptions): Promise<WrappedDek> {
    const request = { op: 'wrap', kek, context: [...context.pairs], fresh: options.fresh ?? false } as const;
    return this.#call(request, { ...options, dek }, parseWrapped);
  }

  unwrap(kek: string, wrapped: WrappedDek, context: WrapContext, options: UpstreamCallOptions): Promise<SlotHandle> {
    const { kekVersion, algorithm, bytes } = wrapped;
    const message = { kekVersion, algorithm, bytes: Buffer.from(bytes).toString('base64') };
    const request = {
      op: 'unwrap',
      kek,
      context: [...context.pairs],
      wrapped: message,
      fresh: options.fresh ?? false,
    } as const;
    return this.#call(request, options, (_ok, dek) => dek!);
  }

  describe(kek: string, options: UpstreamCallOptions): Promise<KekDescription> {
    const request = { op: 'describe', kek, fresh: options.fresh ?? false } as const;
    return this.#call(request, options, (ok) => parseDescription(ok, kek));
  }

  async close(): Promise<void> {
    await this.#pool.close();
    const handover = this.#handover;
    this.#handover = undefined;
    for (const fd of Object.values(handover ?? {})) closeKeyChannel(fd);
  }

  async #call<T>(
    request: CallRequest,
    options: UpstreamCallOptions & { readonly dek?: SlotHandle },
    read: ReadAnswer<T>,
  ): Promise<T> {
    if (options.signal.aborted) throw new UpstreamFailure('unreachable', 'the call was given up before it began');
    return this.#pool.call(request, options, read);
  }
}
