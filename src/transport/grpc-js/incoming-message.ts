import { checkMessage } from '../message-check.ts';
import type { Table } from '../message-table.ts';
import { MalformedMessage } from '../transport.ts';

/** A request as it came. It is read when its caller's turn has come: to check a long one is work, too. */
export class IncomingMessage {
  /** What the decoded message has views into. */
  readonly bytes: Uint8Array;
  readonly #table: Table;
  readonly #decode: (bytes: Buffer) => unknown;

  constructor(bytes: Buffer, table: Table, decode: (bytes: Buffer) => unknown) {
    this.bytes = bytes;
    this.#table = table;
    this.#decode = decode;
  }

  /** What the bytes say. Throws MalformedMessage when they say nothing. */
  read(): unknown {
    try {
      checkMessage(this.#table, this.bytes);
      return this.#decode(this.bytes as Buffer);
    } catch (thrown) {
      throw thrown instanceof MalformedMessage ? thrown : new MalformedMessage('', 'can not be decoded');
    }
  }
}
