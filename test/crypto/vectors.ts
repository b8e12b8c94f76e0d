import { readFileSync } from 'node:fs';
import { type DekBlock, parseDekBlock, verifyDekBlock } from '../../src/crypto/dek-block.ts';
import { openEnvelope, parseEnvelope } from '../../src/crypto/envelope.ts';
import { unauthentic } from '../../src/crypto/invalid-ciphertext.ts';
import { dekId, freeKey, type SlotHandle } from '../../src/crypto/native.ts';
import { loadKey } from '../native/load-key.ts';

export interface RecipientFacts {
  type: number;
  algorithm: number;
  uri: string;
  version: string;
  wrapped: string;
  /** Unwraps the DEK; only where the wrap is a real one. */
  kek?: string;
}

export interface Vector {
  name: string;
  dek: string;
  context: [key: string, value: string][];
  associated_data: string;
  envelope: string;
  detached_block?: string;
}

export interface OpenVector extends Vector {
  dek_id: string;
  suite: number;
  content: number;
  plaintext?: string;
  /** Instead of a long plaintext. */
  plaintext_sha256?: string;
  block?: {
    created: number;
    generation: number;
    key: string;
    partition: [string, string][];
    recipients: RecipientFacts[];
  };
}

export interface RefuseVector extends Vector {
  class: 'malformed' | 'unauthentic';
  mentions?: string[];
}

export const vectors: { open: OpenVector[]; refuse: RefuseVector[] } = JSON.parse(
  readFileSync(new URL('../vectors/envelope.json', import.meta.url), 'utf8'),
);

/** Hex of a vector; only public or test bytes ever come this way. */
export function hex(text: string): Buffer {
  return Buffer.from(text, 'hex');
}

/** Calls `use` with the vector's DEK in a slot, the only place where the code under test may find it. */
export function withDek<T>(dek: string, use: (handle: SlotHandle) => T): T {
  const handle = loadKey(hex(dek), 'dek');
  try {
    return use(handle);
  } finally {
    freeKey(handle);
  }
}

/** All the steps of docs/envelope.md, section 5, but for the unwrap: what a keyring does with an envelope. */
export function openWhole(
  dek: SlotHandle,
  bytes: Buffer,
  context: ReadonlyMap<string, string>,
  associatedData: Uint8Array,
  detachedBlock?: Buffer,
): { plaintext: Buffer; block: DekBlock | undefined } {
  const envelope = parseEnvelope(bytes);
  if (!dekId(dek).equals(envelope.dekId)) throw unauthentic();
  const blockBytes = envelope.block ?? detachedBlock;
  let block: DekBlock | undefined;
  if (blockBytes !== undefined) {
    block = parseDekBlock(blockBytes);
    for (const [key, value] of block.partition) if (context.get(key) !== value) throw unauthentic();
    if (!verifyDekBlock(dek, envelope.dekId, blockBytes)) throw unauthentic();
  }
  return { plaintext: openEnvelope(dek, envelope, context, associatedData), block };
}

export function openVector(vector: Vector): { plaintext: Buffer; block: DekBlock | undefined } {
  const detachedBlock = vector.detached_block === undefined ? undefined : hex(vector.detached_block);
  return withDek(vector.dek, (dek) =>
    openWhole(dek, hex(vector.envelope), new Map(vector.context), hex(vector.associated_data), detachedBlock),
  );
}
