// The process that the kill test kills: waits for one line of JSON on standard input, then works on a keystore until its end. That it waits (an
// empty line), what it is about to do, and what it has done, goes to descriptor 3, a line each, written before it goes on.
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { createKey, dekId, freeKey, openArena } from '../../src/crypto/native.ts';
import type { KekChange } from '../../src/upstream/provider.ts';
import { live, wrapContext } from '../contract/upstream-context.ts';
import { OperatedStore, type Operation } from './keystore-operations.ts';
import { type Random, random } from './random.ts';

export interface Order {
  readonly directory: string;
  readonly rootKeyFile: string;
  readonly otherRootKeyFile: string;
  readonly seed: number;
  /** Time of the first operation. */
  readonly atMs: number;
  /** KEKs made are `kek-N` from this number on. */
  readonly nextKek: number;
}

/** A DEK that was wrapped under a version that was acknowledged. */
export interface Witness {
  readonly kek: string;
  readonly kekVersion: string;
  readonly algorithm: number;
  readonly wrapped: string;
  readonly dekId: string;
}

export type Line =
  | { readonly begin: Operation }
  | { readonly end: string; readonly witness?: Witness; readonly nextKek: number };

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const CONTEXT = wrapContext({ 'dekd:key': 'orders' });

openArena({ size: 1 << 20, lock: 'best-effort' });
writeSync(3, '\n');
for await (const line of createInterface({ input: process.stdin })) {
  await work(JSON.parse(line) as Order);
  break;
}

async function work(order: Order): Promise<void> {
  const store = new OperatedStore(order.directory, order.rootKeyFile);
  await store.open();
  const choose = random(order.seed);
  let { atMs, nextKek, rootKeyFile, otherRootKeyFile } = order;
  for (;;) {
    const operation = await chooseOperation(choose, store, { atMs, nextKek, otherRootKeyFile });
    tell({ begin: operation });
    const outcome = await store.apply(operation);
    if (operation.kind === 'create') nextKek++;
    if (operation.kind === 'change-root-key') [rootKeyFile, otherRootKeyFile] = [otherRootKeyFile, rootKeyFile];
    const made = outcome === 'ok' && (operation.kind === 'create' || operation.kind === 'rotate');
    tell({ end: outcome, nextKek, ...(made ? { witness: await witness(store, operation.kek) } : {}) });
    atMs = operation.atMs;
  }
}

function tell(line: Line): void {
  writeSync(3, `${JSON.stringify(line)}\n`);
}

async function witness({ upstream }: OperatedStore, kek: string): Promise<Witness> {
  const dek = createKey('dek');
  try {
    const { kekVersion, algorithm, bytes } = await upstream.wrap(
      upstream.resolve(`local:${kek}`),
      dek,
      CONTEXT,
      live(),
    );
    const wrapped = Buffer.from(bytes).toString('hex');
    return { kek, kekVersion, algorithm, wrapped, dekId: dekId(dek).toString('hex') };
  } finally {
    freeKey(dek);
  }
}

interface Next {
  readonly atMs: number;
  readonly nextKek: number;
  readonly otherRootKeyFile: string;
}

/** Mostly what is allowed in the state of a KEK chosen at random; a refusal writes nothing. */
async function chooseOperation(choose: Random, { upstream }: OperatedStore, next: Next): Promise<Operation> {
  const atMs = next.atMs + HOUR_MS;
  const keks = (await upstream.listKeks()).filter(({ kek }) => kek.state !== 'destroyed');
  if (keks.length < 4 || choose.below(12) === 0) return { kind: 'create', kek: `kek-${next.nextKek}`, atMs };
  if (choose.below(15) === 0) return { kind: 'change-root-key', to: next.otherRootKeyFile, atMs };
  if (choose.below(8) === 0) return { kind: 'look', atMs: atMs + DAY_MS };
  const { name, kek } = choose.from(keks);
  const custodian = (): string => choose.from(['uid 2001', 'uid 2002']);
  const change = (changes: readonly KekChange[]): Operation => ({
    kind: 'change',
    kek: name,
    change: choose.from(changes),
    atMs,
  });
  const deletion = (): Operation => ({
    kind: choose.from(['schedule', 'schedule', 'cancel']),
    kek: name,
    by: custodian(),
    atMs,
  });
  const partition = (): Operation => ({
    kind: 'partition',
    kek: name,
    change: choose.from(['disable', 'enable']),
    tenant: choose.from(['acme', 'globex']),
    atMs,
  });
  if (kek.state !== 'active') return choose.from([() => change(['enable', 'disable']), deletion, partition])();
  const rotate = (): Operation => ({ kind: 'rotate', kek: name, atMs });
  return choose.from([rotate, rotate, () => change(['disable', 'archive']), deletion, partition])();
}
