import type { Envelope } from '../crypto/envelope.ts';
import type { Dek } from './dek.ts';

export type InlineEnvelope = Envelope & { readonly block: Buffer };

/** An envelope of which it is known whose it is. */
export interface Located {
  readonly envelope: InlineEnvelope;
  readonly keyName: string;
  /** The cached DEK of its dek_id. */
  readonly held: Dek | undefined;
  /** Its block is `held`'s, byte for byte. */
  readonly exact: boolean;
}
