import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dekId, freeKey } from '../../src/crypto/native.ts';
import type { LocalUpstream } from '../../src/upstream/local/provider.ts';
import { readSnapshot } from '../../src/upstream/local/snapshot.ts';
import { live, wrapContext } from '../contract/upstream-context.ts';
import type { OperatedStore, Operation } from './keystore-operations.ts';
import type { Witness } from './keystore-worker.ts';

const CONTEXT = wrapContext({ 'dekd:key': 'orders' });

/** Every record of a keystore as text, but for what two stores with the same history differ in: wrapped keys and MACs. */
export function stateOf(file: string): string {
  const { rows, damages } = readSnapshot(file, file);
  if (damages.length > 0) throw new Error(JSON.stringify(damages));
  const public_ = [...rows].map(([table, records]) => [
    table,
    records.map((columns) => columns.slice(0, -1).map(shown)),
  ]);
  return JSON.stringify(public_, undefined, 1);
}

/** The same of a store that is open. */
export async function stateNow({ upstream }: OperatedStore, directory: string): Promise<string> {
  return stateOfCopy(await upstream.backup(), directory);
}

/** The states that an operation leads to: one for each transaction that it takes. */
export async function statesAfter(store: OperatedStore, operation: Operation, directory: string): Promise<string[]> {
  const copies: Promise<Buffer>[] = [];
  const { upstream } = store;
  upstream.onKekChange = () => copies.push(upstream.backup());
  await store.apply(operation);
  const states = (await Promise.all(copies)).map((copy) => stateOfCopy(copy, directory));
  return [...states, await stateNow(store, directory)];
}

function stateOfCopy(copy: Buffer, directory: string): string {
  const file = join(directory, 'state.db');
  writeFileSync(file, copy);
  return stateOf(file);
}

/** The witnesses whose DEK does not come back, though the records say that it must. */
export async function lostWitnesses(upstream: LocalUpstream, witnesses: readonly Witness[]): Promise<Witness[]> {
  const keks = new Map((await upstream.listKeks()).map(({ name, kek }) => [name, kek]));
  const lost: Witness[] = [];
  for (const witness of witnesses) {
    const kek = keks.get(witness.kek);
    const version = kek?.versions.find(({ version }) => version === witness.kekVersion);
    if (version === undefined) lost.push(witness);
    else if (kek?.state !== 'active' && kek?.state !== 'archived') continue;
    else if (!(await opens(upstream, witness))) lost.push(witness);
  }
  return lost;
}

async function opens(
  upstream: LocalUpstream,
  { kek, kekVersion, algorithm, wrapped, dekId: id }: Witness,
): Promise<boolean> {
  const bytes = Buffer.from(wrapped, 'hex');
  const dek = await upstream.unwrap(
    upstream.resolve(`local:${kek}`),
    { kekVersion, algorithm, bytes },
    CONTEXT,
    live(),
  );
  try {
    return dekId(dek).toString('hex') === id;
  } finally {
    freeKey(dek);
  }
}

function shown(field: unknown): unknown {
  if (typeof field === 'bigint') return String(field);
  return field instanceof Uint8Array ? 'wrapped key' : field;
}
