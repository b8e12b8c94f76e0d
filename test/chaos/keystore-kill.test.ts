import { randomBytes, randomInt } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { openArena } from '../../src/crypto/native.ts';
import { DekdError } from '../../src/errors.ts';
import { checkKeystore } from '../../src/upstream/local/check.ts';
import { isHotJournal } from '../../src/upstream/local/journal.ts';
import { test } from '../helpers/serial.ts';
import { OperatedStore } from './keystore-operations.ts';
import { lostWitnesses, stateNow, stateOf, statesAfter } from './keystore-state.ts';
import { type Story, Victim } from './keystore-victim.ts';
import type { Order, Witness } from './keystore-worker.ts';
import { type Random, random } from './random.ts';

// SIGKILL takes the process, not the machine: what the kernel has is on disk as far as this proof goes. That SQLite waits for the disk itself
// (synchronous=FULL) is seen in test/upstream/local/database.test.ts.

const IN_CI = process.env['CI'] === 'true';
const KILLS = IN_CI ? 200 : 20;
/** Kills after which a journal waits to be rolled back. */
const KILLS_INSIDE = IN_CI ? 50 : 5;
/** When luck is bad, some more; then something is wrong. */
const MAX_KILLS = 3 * KILLS;
const MAX_WITNESSES = 60;
const NAMED_SEED = process.env['DEKD_KILL_SEED'];

test('a process killed at any moment loses nothing that it acknowledged and leaves nothing half done', async (t) => {
  t.timeout(600_000);
  const seed = NAMED_SEED === undefined ? randomInt(2 ** 31) : Number(NAMED_SEED);
  console.error(`keystore-kill: seed ${seed}; the same operations again: DEKD_KILL_SEED=${seed}`);
  const bench = new Bench(t, seed);
  let kills = 0;
  const cut = new Map<string, number>();
  let inside = 0;
  let operations = 0;
  while (kills < MAX_KILLS && (kills < KILLS || inside < KILLS_INSIDE)) {
    const { story, hot } = await bench.round(seed + kills);
    kills++;
    if (hot) {
      inside++;
      count(cut, story.pending?.kind ?? 'none');
    }
    operations += story.done.length;
  }
  const kinds = [...cut].map(([kind, number]) => `${kind} ${number}`).join(', ');
  const facts = `${kills} kills, ${inside} of them inside a transaction (${kinds}), ${operations} operations acknowledged, seed ${seed}`;
  console.error(`keystore-kill: ${facts}`);
  t.log(facts);
  t.true(kills >= KILLS && inside >= KILLS_INSIDE, facts);
  t.true(operations >= kills / 4, facts);
});

test('a process killed while it makes its keystore leaves a whole one or none', async (t) => {
  t.timeout(300_000);
  openArena({ size: 1 << 20, lock: 'best-effort' });
  const parent = mkdtempSync(join(tmpdir(), 'dekd-kill-'));
  const rootKeyFile = join(parent, 'root.key');
  writeFileSync(rootKeyFile, randomBytes(32), { mode: 0o600 });
  const seed = NAMED_SEED === undefined ? randomInt(2 ** 31) : Number(NAMED_SEED);
  const moments = random(seed);
  let victim = new Victim();
  t.teardown(async () => {
    await victim.kill();
    rmSync(parent, { recursive: true, force: true });
  });
  let made = 0;
  for (let number = 0; number < KILLS / 4; number++) {
    const directory = join(parent, `keystore-${number}`);
    const current = victim;
    victim = new Victim();
    await current.ready();
    await current.dieAtStart(
      { directory, rootKeyFile, otherRootKeyFile: rootKeyFile, seed, atMs: 1, nextKek: 1 },
      moments,
    );
    const store = new OperatedStore(directory, rootKeyFile);
    await store.open();
    if (!store.upstream.warnings.some((warning) => warning.startsWith('a new keystore'))) made++;
    await store.close();
    t.deepEqual(checkKeystore(directory, { file: rootKeyFile }).damages, [], `seed ${seed}, number ${number}`);
  }
  t.log(`${KILLS / 4} kills, after ${made} of them there was a store (seed ${seed})`);
});

/** A keystore that is worked on, killed, and compared with a copy in which the same is done in peace. */
class Bench {
  readonly #t: ExecutionContext;
  readonly #directory: string;
  readonly #database: string;
  readonly #copy: string;
  readonly #moments: Random;
  #rootKeys: readonly [current: string, other: string];
  #witnesses: Witness[] = [];
  #atMs = 1_790_000_000_000;
  #nextKek = 1;
  #victim = new Victim();

  constructor(t: ExecutionContext, seed: number) {
    openArena({ size: 1 << 20, lock: 'best-effort' });
    const parent = mkdtempSync(join(tmpdir(), 'dekd-kill-'));
    t.teardown(async () => {
      await this.#victim.kill();
      rmSync(parent, { recursive: true, force: true });
    });
    this.#t = t;
    this.#directory = join(parent, 'keystore');
    this.#database = join(this.#directory, 'keystore.db');
    // In memory where there is such a place: the copy is there to compare with, not to last.
    const copies = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'dekd-kill-'));
    t.teardown(() => rmSync(copies, { recursive: true, force: true }));
    this.#copy = join(copies, 'copy');
    mkdirSync(this.#copy, { mode: 0o700 });
    this.#moments = random(seed);
    this.#rootKeys = [join(parent, 'a.key'), join(parent, 'b.key')];
    for (const file of this.#rootKeys) writeFileSync(file, randomBytes(32), { mode: 0o600 });
  }

  async round(seed: number): Promise<{ story: Story; hot: boolean }> {
    if (this.#nextKek === 1) await this.#make();
    copyFileSync(this.#database, join(this.#copy, 'keystore.db'));
    const victim = this.#victim;
    this.#victim = new Victim();
    const [rootKeyFile, otherRootKeyFile] = this.#rootKeys;
    const { directory, atMs, nextKek } = { directory: this.#directory, atMs: this.#atMs, nextKek: this.#nextKek };
    const order: Order = { directory, rootKeyFile, otherRootKeyFile, seed, atMs, nextKek };
    const story = await victim.live(order, this.#moments);
    const hot = isHotJournal(`${this.#database}-journal`) && statSync(this.#database).size > 0;
    await this.#compare(order, story, `seed ${seed}, ${JSON.stringify(story.pending)}`);
    this.#remember(story);
    return { story, hot };
  }

  async #make(): Promise<void> {
    const store = new OperatedStore(this.#directory, this.#rootKeys[0]);
    await store.open();
    await store.apply({ kind: 'create', kek: 'kek-0', atMs: this.#atMs });
    await store.close();
  }

  async #compare(order: Order, story: Story, label: string): Promise<void> {
    this.#findRootKey(story, label);
    const { damages } = checkKeystore(this.#directory, { file: this.#rootKeys[0] });
    this.#t.deepEqual(damages, [], label);
    // The start that undoes what was half done, as an agent makes it.
    const store = new OperatedStore(this.#directory, this.#rootKeys[0]);
    await store.open();
    this.#t.deepEqual(await lostWitnesses(store.upstream, [...this.#witnesses, ...story.witnesses]), [], label);
    await store.close();
    const expected = await this.#replay(order, story, label);
    const found = stateOf(this.#database);
    this.#t.true(expected.includes(found), `${label}\nfound ${found}\nexpected ${expected.join('\nor ')}`);
  }

  /** The one that was acknowledged; while a change of it was under way, either. */
  #findRootKey({ done, pending }: Story, label: string): void {
    const changes = done.filter(({ operation }) => operation.kind === 'change-root-key').length;
    const [first, second] = this.#rootKeys;
    const current: readonly [string, string] = changes % 2 === 0 ? [first, second] : [second, first];
    this.#rootKeys = current;
    if (opensWith(this.#directory, current[0])) return;
    this.#t.is(pending?.kind, 'change-root-key', `the acknowledged root key does not open the store: ${label}`);
    this.#rootKeys = [current[1], current[0]];
  }

  /** Does in the copy what was acknowledged, and returns the states that the store may be in. */
  async #replay({ rootKeyFile }: Order, { done, pending }: Story, label: string): Promise<string[]> {
    const store = new OperatedStore(this.#copy, rootKeyFile);
    await store.open();
    try {
      for (const { operation, outcome } of done) this.#t.is(await store.apply(operation), outcome, label);
      const scratch = join(this.#copy, '..');
      const before = await stateNow(store, scratch);
      return pending === undefined ? [before] : [before, ...(await statesAfter(store, pending, scratch))];
    } finally {
      await store.close();
    }
  }

  #remember({ done, pending, witnesses, nextKek }: Story): void {
    const all = [...this.#witnesses, ...witnesses];
    while (all.length > MAX_WITNESSES) all.splice(this.#moments.below(all.length), 1);
    this.#witnesses = all;
    this.#nextKek = nextKek;
    this.#atMs = pending?.atMs ?? done.at(-1)?.operation.atMs ?? this.#atMs;
  }
}

function count(numbers: Map<string, number>, name: string): void {
  numbers.set(name, (numbers.get(name) ?? 0) + 1);
}

function opensWith(directory: string, file: string): boolean {
  try {
    checkKeystore(directory, { file });
    return true;
  } catch (error) {
    if (error instanceof DekdError && error.message.includes('this root key')) return false;
    throw error;
  }
}
