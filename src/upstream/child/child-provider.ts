import type { KekDescription, UpstreamType, WrapContext, WrappedDek } from '../provider.ts';
import type { Handover } from './handover.ts';

// What a provider of a service outside dekd writes: ChildProvider in provider.ts, which runs in the child process with the vendor's SDK, and
// ProviderFacts in options.ts, which is all that the agent knows of it.

export interface ChildCall {
  /** Aborts when the agent has given the call up; its answer is then thrown away. */
  readonly signal: AbortSignal;
  /** The confirming call after a refusal: over a new connection, with a fresh credential. */
  readonly fresh: boolean;
}

/**
 * A refusal is confirmed a second after it or later, so that a credential younger than that was given after the refusal, and is fresh. The many
 * confirmations that follow a permission's end then need one login a second instead of one each.
 */
export const FRESH_MS = 1_000;

/**
 * A service that holds KEKs, as the child sees it. A KEK is named by its URI in normal form (docs/envelope.md). A DEK has 32 bytes in memory of
 * its own (secretBuffer), and whoever gets it zeroes it: `serve.ts` what it passes to `wrap` and what `unwrap` returns. Every method throws UpstreamFailure and
 * nothing else.
 */
export interface ChildProvider {
  wrap(kek: string, dek: Uint8Array, context: WrapContext, call: ChildCall): Promise<WrappedDek>;
  unwrap(kek: string, wrapped: WrappedDek, context: WrapContext, call: ChildCall): Promise<Uint8Array>;
  /** `uri` is not passed on: the agent knows what it asked for. */
  describe(kek: string, call: ChildCall): Promise<KekDescription>;
  /** Facts that an operator must see in log and status; read once, after open. */
  readonly warnings: readonly string[];
  /** `isReplaced`: another child follows, and what is handed over must stay valid. Default false. */
  close(isReplaced?: boolean): Promise<void>;
}

/**
 * What a provider.ts exports as `open`. It calls no service: an agent starts in an outage too. Throws DekdError for what an operator must put
 * right (a package that is not installed, a file that cannot be read), and then the agent refuses to start; UpstreamFailure for the rest.
 */
export type OpenProvider<Options extends ChildUpstreamOptions = ChildUpstreamOptions> = (
  options: Options,
  environment: Readonly<Record<string, string | undefined>>,
  handover?: Handover,
) => Promise<ChildProvider>;

/** What each provider's settings have in common. They travel to the child as JSON: no Map, no undefined that means something. */
export interface ChildUpstreamOptions {
  readonly type: UpstreamType;
  /** Calls after which a child is replaced, so that what an SDK left in its memory goes: 1–1,000,000, default 1,000. */
  readonly maxCalls?: number;
  /** Time without a call after which a child that has served one is replaced, in milliseconds: 1,000–86,400,000, default 60,000. */
  readonly idleMs?: number;
  /** Whether a second child stands ready beside one that has served a call. False saves its memory; then a call waits for a start at times. Default true. */
  readonly warmChild?: boolean;
  /** Memory that a child may take beside what a bare Node takes, in MiB: 64–4,096, default 256. Half of it is V8's heap. */
  readonly memoryMib?: number;
  /** Variables of the agent's environment that its children see beside those that the provider needs, by name. Default none. */
  readonly environment?: readonly string[];
  /** Whether DEKs count that anybody can have wrapped (UNPROVEN_ALGORITHMS of src/upstream/provider.ts). Default: they do not. */
  readonly origin?: 'unproven';
}

/** What the agent must know of a provider without loading it: exported by its options.ts, and listed in registry.ts. */
export interface ProviderFacts<Options extends ChildUpstreamOptions = ChildUpstreamOptions> {
  readonly type: Options['type'];
  /** The `import.meta.url` of options.ts: provider.ts lies beside it. */
  readonly beside: string;
  /** A KEK reference in normal form, as Upstream.resolve; uri.ts has it. */
  resolve(reference: string, options: Options): string;
  /** As Upstream.endpoint, of a KEK in normal form. Default: there is one. */
  readonly endpoint?: (kek: string, options: Options) => string;
  /** Whether the child's JavaScript opens connections. Default true; false takes that right away where Node can. */
  readonly network?: boolean;
  /** The vendor's packages, which are installed beside dekd, by name: the child reads where they lie. Default none. */
  readonly packages?: readonly string[];
  /** Variables of the agent's environment that the provider needs, by name. */
  readonly environment: readonly string[];
  /** Threads in which the provider's addon waits for answers (UV_THREADPOOL_SIZE). Default: Node's four. */
  readonly threads?: (options: Options) => number;
  /** Files and directories, absolute, that the child's JavaScript reads beside dekd and its packages. */
  readonly readPaths: (options: Options) => readonly string[];
}
