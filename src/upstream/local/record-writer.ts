import type { DatabaseSync } from 'node:sqlite';
import type { SlotHandle } from '../../../native/binding.d.ts';
import { native } from '../../crypto/native.ts';
import { recordBytes } from './record-checker.ts';
import type { Table } from './records.ts';

/** Writes and removes records, with their MACs, and keeps `manifest` what the store record has to say of them. Inside a transaction. */
export class RecordWriter {
  readonly manifest: Map<string, string>;
  readonly #connection: DatabaseSync;
  readonly #storeId: string;
  readonly #recordMac: SlotHandle;

  constructor(connection: DatabaseSync, storeId: string, recordMac: SlotHandle, manifest: Map<string, string>) {
    this.manifest = manifest;
    this.#connection = connection;
    this.#storeId = storeId;
    this.#recordMac = recordMac;
  }

  /** Adds each record or replaces it. */
  write<Row>(table: Table<Row>, records: readonly Row[]): void {
    const statement = this.#connection.prepare(table.upsert);
    for (const record of records) {
      const row = table.toRow(record);
      const mac = native.hmac(this.#recordMac, recordBytes(table.name, this.#storeId, row));
      statement.run(...row, mac);
      this.manifest.set(table.idOf(row), mac.toString('hex'));
    }
  }

  remove<Row>(table: Table<Row>, records: readonly Row[]): void {
    const statement = this.#connection.prepare(table.remove);
    for (const record of records) {
      const row = table.toRow(record);
      statement.run(...row.slice(0, table.keyColumns));
      this.manifest.delete(table.idOf(row));
    }
  }
}
