import type { FailureClass, KekCondition, RefusalScope } from '../failure.ts';
import type { KekDescription } from '../provider.ts';
import type { ChildUpstreamOptions } from './child-provider.ts';

// What the frames say. A DEK is in none of them: it goes over the key channel under the same id, before the frame that belongs to it.

/** The first frame. `module` is the URL of a provider.ts. */
export interface OpenRequest {
  readonly op: 'open';
  readonly module: string;
  readonly options: ChildUpstreamOptions;
}

export interface WrappedMessage {
  readonly kekVersion: string;
  readonly algorithm: number;
  /** base64 */
  readonly bytes: string;
}

interface KekRequest {
  readonly kek: string;
  readonly fresh: boolean;
}

type Pairs = readonly (readonly [string, string])[];

export type CallRequest =
  | (KekRequest & { readonly op: 'wrap'; readonly context: Pairs })
  | (KekRequest & { readonly op: 'unwrap'; readonly context: Pairs; readonly wrapped: WrappedMessage })
  | (KekRequest & { readonly op: 'describe' });

/**
 * `cancel` names the call that is given up; it is that call which is answered then, if it was not before. `retire` is the last one to a child that
 * another one replaces; it is not answered.
 */
export type Request =
  | OpenRequest
  | (CallRequest & { readonly id: number })
  | { readonly op: 'cancel'; readonly id: number }
  | { readonly op: 'retire' };

export interface FailureMessage {
  readonly class: FailureClass;
  readonly scope?: RefusalScope | undefined;
  readonly condition?: KekCondition | undefined;
  readonly message: string;
  readonly retryAfterMs?: number | undefined;
}

/** The answer to `open`. `problem`: what an operator must put right. */
export type OpenReply =
  | { readonly ready: readonly string[] }
  | { readonly problem: string }
  | { readonly failure: FailureMessage };

export type DescriptionMessage = Omit<KekDescription, 'uri' | 'labels'> & { readonly labels: Pairs };

export interface Answers {
  readonly wrap: WrappedMessage;
  /** The DEK is on the key channel. */
  readonly unwrap: Record<never, never>;
  readonly describe: DescriptionMessage;
}

export type CallReply =
  | { readonly id: number; readonly ok: unknown }
  | { readonly id: number; readonly failure: FailureMessage };
