import { checkMessage } from '../message-check.ts';
import type { Table } from '../message-table.ts';
import { MalformedMessage } from '../transport.ts';

/** A request as it came: its bytes, and what they say or what is wrong with them. */
export class IncomingMessage {
  /** What the decoded message has views into. */
  readonly bytes: Uint8Array;
  readonly message: unknown;
  readonly failure: MalformedMessage | undefined;

  private constructor(bytes: Uint8Array, message: unknown, failure: MalformedMessage | undefined) {
    this.bytes = bytes;
    this.message = message;
    this.failure = failure;
  }

  /** Never throws: grpc-js would answer INTERNAL for what is the caller's fault. */
  static read(bytes: Buffer, table: Table, decode: (bytes: Buffer) => unknown): IncomingMessage {
    try {
      checkMessage(table, bytes);
      return new IncomingMessage(bytes, decode(bytes), undefined);
    } catch (thrown) {
      const failure = thrown instanceof MalformedMessage ? thrown : new MalformedMessage('', 'can not be decoded');
      return new IncomingMessage(bytes, undefined, failure);
    }
  }
}
