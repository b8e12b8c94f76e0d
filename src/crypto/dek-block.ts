import { DekdError, invalidField } from '../errors.ts';
import { ByteReader } from './byte-reader.ts';
import { type EncryptionContext, encodeContext, encodePairs, parseContext } from './context.ts';
import { malformed } from './invalid-ciphertext.ts';

import { native, type SlotHandle } from './native.ts';
import { fromNative } from './native-errors.ts';
import { type BlockRecipient, encodeRecipients, readRecipients } from './recipients.ts';

export type { BlockRecipient } from './recipients.ts';

/** The public part of a DEK: its name, age, partition and wrapped copies (docs/envelope.md). */
export interface DekBlock {
  /** Unix milliseconds; information, never a ground for a decision. */
  createdMs: number;
  /** 0 = made by one agent for itself. */
  generation: number;
  keyName: string;
  /** Pairs of the encryption context that every message under this DEK has. */
  partition: Map<string, string>;
  recipients: readonly BlockRecipient[];
}

/** What a wrapped DEK is bound to: the pairs, and the same in the context encoding. The shape that src/upstream/ declares. */
export interface WrapContext {
  readonly pairs: ReadonlyMap<string, string>;
  readonly encoded: Uint8Array;
}

/** Longest dek-block, in bytes. */
export const MAX_BLOCK_BYTES = 16_384;
/** Longest value of a partition's entry, in bytes of UTF-8; empty ones are refused too. */
export const MAX_PARTITION_VALUE_BYTES = 256;

const MAC_BYTES = 32;
const BLOCK_VERSION = 1;
/** Behind version, time of creation, generation and the name's length. */
const NAME_OFFSET = 14;
const KEY_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const RESERVED_PREFIXES = ['dekd:', 'aws:'];
const WHERE = 'dek-block';

/**
 * Encodes the block and puts the DEK's MAC behind it. INVALID_REQUEST for a partition that a block cannot hold, INTERNAL for
 * anything else that a reader would refuse: no block leaves here that parseDekBlock does not take.
 */
export function sealDekBlock(block: DekBlock, dek: SlotHandle): Buffer {
  const problem = partitionProblem(block.partition);
  if (problem !== undefined) throw invalidField('encryption_context', problem);
  const body = encodeBody(block);
  const length = body.length + MAC_BYTES;
  if (length > MAX_BLOCK_BYTES) {
    throw invalidField('encryption_context', `makes a dek-block of ${length} bytes, at most ${MAX_BLOCK_BYTES}`);
  }
  const sealed = Buffer.concat([body, blockMac(dek, body)]);
  try {
    parseDekBlock(sealed);
  } catch (error) {
    throw new DekdError('INTERNAL', 'internal error', { cause: error });
  }
  return sealed;
}

/**
 * Reads a dek-block's structure and nothing more: whether it is genuine only verifyDekBlock tells. INVALID_CIPHERTEXT when it is
 * not well-formed. `wrapped` of its recipients are views: copy `bytes` first when the block outlives the request.
 */
export function parseDekBlock(bytes: Buffer): DekBlock {
  if (bytes.length > MAX_BLOCK_BYTES) throw malformed(`longer than ${MAX_BLOCK_BYTES} bytes`, 0, WHERE);
  const reader = new ByteReader(bytes, WHERE);
  const version = reader.u8('its version');
  if (version !== BLOCK_VERSION) throw malformed(`unknown version ${version}`, 0, WHERE);
  const createdMs = reader.u64('the time of its creation');
  const generation = reader.u32('its generation');
  const nameStart = reader.offset;
  const keyName = reader.text(reader.u8('the length of its key name'), 'its key name');
  if (!isKeyName(keyName)) throw malformed('not a key name', nameStart, WHERE);
  const partition = readPartition(reader);
  const recipients = readRecipients(reader);
  reader.take(MAC_BYTES, 'its MAC');
  reader.end();
  return { createdMs, generation, keyName, partition, recipients };
}

/** True when `dekId` is this DEK's commitment and the block's MAC is this DEK's; constant time, in native code. */
export function verifyDekBlock(dek: SlotHandle, dekId: Uint8Array, block: Buffer): boolean {
  try {
    return native.blockVerify(dek, dekId, block);
  } catch (error) {
    throw fromNative(error);
  }
}

/**
 * Whether a well-formed block's whole partition is in `context`. It is read where it stands, at `offset`: no string is made. `names` are those that it usually has,
 * in the order of the context encoding.
 */
export function partitionIsIn(
  context: EncryptionContext,
  bytes: Buffer,
  offset: number,
  names: readonly string[],
): boolean {
  const nameStart = offset + NAME_OFFSET;
  let at = nameStart + bytes[nameStart - 1]! + 2;
  const count = u32(bytes, at);
  at += 4;
  for (let index = 0; index < count; index++) {
    const keyStart = at + 4;
    const keyEnd = keyStart + u32(bytes, at);
    const valueStart = keyEnd + 4;
    at = valueStart + u32(bytes, keyEnd);
    const usual = names[index];
    const isUsual = usual !== undefined && isText(usual, bytes, keyStart, keyEnd);
    const value = context.get(isUsual ? usual : bytes.toString('utf8', keyStart, keyEnd));
    if (value === undefined || !isText(value, bytes, valueStart, at)) return false;
  }
  return true;
}

/** What every upstream binds a wrapped DEK to: `dekd:key`, `dekd:id` (lower-case hex) and the partition's pairs, as one sorted map. */
export function wrapContext(keyName: string, dekId: Uint8Array, partition: EncryptionContext): WrapContext {
  const id = Buffer.from(dekId.buffer, dekId.byteOffset, dekId.byteLength).toString('hex');
  const pairs = new Map([...partition, ['dekd:key', keyName], ['dekd:id', id]]);
  return { pairs, encoded: encodePairs(pairs) };
}

/** True for `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`. */
export function isKeyName(text: string): boolean {
  return KEY_NAME.test(text);
}

/** ASCII, which nearly every partition is, goes byte by byte, as in writeContext. */
function isText(text: string, bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    const unit = text.charCodeAt(at - start);
    if (unit !== bytes[at] || unit > 0x7f) return bytes.toString('utf8', start, end) === text;
  }
  return text.length === end - start;
}

/** Without the checks of readUInt32BE, which cost as much as all the rest here. */
function u32(bytes: Buffer, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

function readPartition(reader: ByteReader): Map<string, string> {
  const start = reader.offset;
  const encoded = reader.take(reader.u16('the length of its partition'), 'its partition');
  const partition = parseContext(encoded, `${WHERE}, partition`);
  const problem = partitionProblem(partition);
  if (problem !== undefined) throw malformed(problem, start, WHERE);
  return partition;
}

function partitionProblem(partition: ReadonlyMap<string, string>): string | undefined {
  for (const [key, value] of partition) {
    if (key === '') return 'a partition entry has an empty key';
    const prefix = RESERVED_PREFIXES.find((reserved) => key.startsWith(reserved));
    if (prefix !== undefined) return `a partition entry's key starts with "${prefix}"`;
    const length = Buffer.byteLength(value);
    if (length < 1 || length > MAX_PARTITION_VALUE_BYTES) {
      return `a partition entry's value has ${length} bytes, 1 to ${MAX_PARTITION_VALUE_BYTES} are allowed`;
    }
  }
  return undefined;
}

function encodeBody(block: DekBlock): Buffer {
  const partition = encodeContext(block.partition);
  const head = Buffer.alloc(14);
  head.writeUInt8(BLOCK_VERSION, 0);
  head.writeUInt32BE(Math.floor(block.createdMs / 2 ** 32), 1);
  head.writeUInt32BE(block.createdMs % 2 ** 32, 5);
  head.writeUInt32BE(block.generation, 9);
  head.writeUInt8(block.keyName.length, 13);
  const partitionLength = Buffer.alloc(2);
  partitionLength.writeUInt16BE(partition.length);
  const recipients = encodeRecipients(block.recipients);
  return Buffer.concat([head, Buffer.from(block.keyName), partitionLength, partition, recipients]);
}

function blockMac(dek: SlotHandle, body: Buffer): Buffer {
  try {
    return native.blockMac(dek, body);
  } catch (error) {
    throw fromNative(error);
  }
}
