import { secretBuffer } from '../../../../src/crypto/secret-buffer.ts';
import type { ChildCall, ChildProvider, OpenProvider } from '../../../../src/upstream/child/child-provider.ts';
import type { Handover } from '../../../../src/upstream/child/handover.ts';
import { UpstreamFailure } from '../../../../src/upstream/failure.ts';
import type { KekDescription, WrapContext, WrappedDek } from '../../../../src/upstream/provider.ts';

/** A DEK as the provider saw it, and the memory in which it lay. */
export interface Seen {
  readonly copy: Buffer;
  readonly memory: Uint8Array;
}

/** A provider that keeps what it was given, in the process of the test. */
export class Recording implements ChildProvider {
  readonly warnings = ['recorded'];
  readonly seen: Seen[] = [];
  readonly calls: ChildCall[] = [];
  readonly contexts: WrapContext[] = [];
  readonly handover: Handover | undefined;
  isClosed = false;
  isReplaced = false;
  /** What `unwrap` waits for. */
  gate: Promise<void> = Promise.resolve();

  constructor(handover: Handover | undefined) {
    this.handover = handover;
  }

  async wrap(kek: string, dek: Uint8Array, context: WrapContext, call: ChildCall): Promise<WrappedDek> {
    this.calls.push(call);
    this.contexts.push(context);
    this.seen.push({ copy: Buffer.from(dek), memory: dek });
    await this.gate;
    if (kek === 'refused') throw new UpstreamFailure('refused', 'no', { scope: 'kek' });
    return { kekVersion: '7', algorithm: 1, bytes: Buffer.from('wrapped') };
  }

  async unwrap(kek: string, _wrapped: WrappedDek, _context: WrapContext, call: ChildCall): Promise<Uint8Array> {
    this.calls.push(call);
    await this.gate;
    const memory = secretBuffer(kek === 'short' ? 31 : 32).fill(5);
    this.seen.push({ copy: Buffer.from(memory), memory });
    return memory;
  }

  /** Not a promise: a mistake of a provider is its own. */
  describe(kek: string): Promise<KekDescription> {
    if (kek === 'throws') throw new TypeError('at once');
    const versions = Array.from({ length: kek === 'long' ? 10_000 : 2 }, (_, at) => ({
      version: `${at}${kek === 'large' ? 'x'.repeat(65_536) : ''}`,
      state: 'active' as const,
      createdAt: at,
    }));
    return Promise.resolve({ uri: kek, state: 'active', versions, labels: new Map([['a', 'b']]) });
  }

  async close(isReplaced = false): Promise<void> {
    this.isClosed = true;
    this.isReplaced = isReplaced;
  }
}

/** Those that were opened, in order. */
export const recordings: Recording[] = [];

export const open: OpenProvider = async (_options, _environment, handover) => {
  recordings.push(new Recording(handover));
  return recordings.at(-1)!;
};
