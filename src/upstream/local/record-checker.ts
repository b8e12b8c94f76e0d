import type { SlotHandle } from '../../../native/binding.d.ts';
import { native } from '../../crypto/native.ts';
import { encodeFields, type Field } from './fields.ts';
import type { Manifest } from './head.ts';
import { describeRecord, type Table } from './records.ts';

/** Something in a keystore that is not as dekd left it. */
export interface Damage {
  /** `the record of KEK "orders" version 2`. */
  readonly what: string;
  /** `was changed outside dekd`. */
  readonly problem: string;
}

/** The bytes that a record's MAC covers. The table's name and the store's id are in them, so that a row fits one place only. */
export function recordBytes(table: string, storeId: string, row: readonly Field[]): Buffer {
  return encodeFields([table, storeId, ...row]);
}

/** Compares the rows of every table with their MACs and with the manifest, and collects whatever does not fit. */
export class RecordChecker {
  readonly damages: Damage[] = [];
  readonly #storeId: string;
  readonly #recordMac: SlotHandle;
  readonly #manifest: Manifest;
  readonly #missing: Set<string>;

  constructor(storeId: string, recordMac: SlotHandle, manifest: Manifest) {
    this.#storeId = storeId;
    this.#recordMac = recordMac;
    this.#manifest = manifest;
    this.#missing = new Set(manifest.keys());
  }

  /** The sound ones of `table.select`'s rows. */
  check<Row>(table: Pick<Table<Row>, 'name' | 'fromRow' | 'idOf'>, rows: readonly (readonly Field[])[]): Row[] {
    return rows.flatMap((columns) => {
      const row = columns.slice(0, -1);
      const id = table.idOf(row);
      this.#missing.delete(id);
      const problem = this.#problemOf(table.name, id, row, columns.at(-1) as Uint8Array);
      if (problem === undefined) return [table.fromRow(row)];
      this.#add(id, problem);
      return [];
    });
  }

  /** Once every table was checked: what the manifest names and no table had is damage too. */
  finish(problem = 'is missing: it was removed outside dekd'): readonly Damage[] {
    for (const id of this.#missing) this.#add(id, problem);
    this.#missing.clear();
    return this.damages;
  }

  #problemOf(table: string, id: string, row: readonly Field[], mac: Uint8Array): string | undefined {
    // Only a damaged page has such fields: the tables are STRICT.
    const wellFormed = mac instanceof Uint8Array && row.every((field) => typeof field !== 'number');
    if (!wellFormed || !native.hmacVerify(this.#recordMac, recordBytes(table, this.#storeId, row), mac)) {
      return 'was changed outside dekd';
    }
    const listed = this.#manifest.get(id);
    if (listed === undefined) return 'is not in the store record: it was added outside dekd';
    if (listed === Buffer.from(mac).toString('hex')) return undefined;
    return 'is not the one in the store record: one of the two was put back from an older copy';
  }

  #add(id: string, problem: string): void {
    this.damages.push({ what: `the record of ${describeRecord(id)}`, problem });
  }
}
