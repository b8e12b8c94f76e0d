import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isHotJournal } from '../../src/upstream/local/journal.ts';
import type { Operation } from './keystore-operations.ts';
import type { Line, Order, Witness } from './keystore-worker.ts';
import type { Random } from './random.ts';

const WORKER = fileURLToPath(new URL('keystore-worker.ts', import.meta.url));
/** Long enough for a start on a busy machine. */
const START_MS = 30_000;

/** What the process had told when it died. */
export interface Story {
  /** Acknowledged, with their outcomes. */
  readonly done: readonly { readonly operation: Operation; readonly outcome: string }[];
  /** Begun and not acknowledged. */
  readonly pending: Operation | undefined;
  readonly witnesses: readonly Witness[];
  readonly nextKek: number;
}

/** A process that works on a keystore and gets killed. It is started ahead: loading takes longer than living. */
export class Victim {
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #told = '';
  #complaint = '';

  constructor() {
    const stdio = ['pipe', 'ignore', 'pipe', 'pipe'] as const;
    this.#child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', WORKER], { stdio: [...stdio] });
    this.#closed = once(this.#child, 'close');
    (this.#child.stdio[3] as Readable).on('data', (chunk: Buffer) => (this.#told += chunk.toString()));
    this.#child.stderr?.on('data', (chunk: Buffer) => (this.#complaint += chunk.toString()));
  }

  /** Lets it work, kills it at a random moment, and returns what it told. */
  async live(order: Order, moment: Random): Promise<Story> {
    await this.ready();
    const first = once(this.#child.stdio[3] as Readable, 'data', { signal: AbortSignal.timeout(START_MS) });
    this.#send(order);
    await Promise.race([first, this.#closed]);
    await wait(moment.below(60));
    // Every second time the moment is the middle of a transaction: they are short, and few would be met by chance.
    if (moment.below(2) === 0) this.#awaitTransaction(`${order.directory}/keystore.db-journal`, moment.below(500));
    await this.kill();
    if (this.#complaint !== '') throw new Error(`the worker failed by itself: ${this.#complaint}`);
    return this.#story(order);
  }

  /** Everything that it needs is loaded. */
  async ready(): Promise<void> {
    const untilMs = performance.now() + START_MS;
    while (this.#told === '' && performance.now() < untilMs) await wait(2);
  }

  /** Kills it while it opens its keystore, at the latest when that is done. */
  async dieAtStart(order: Order, moment: Random): Promise<void> {
    this.#send(order);
    if (moment.below(2) === 0) this.#awaitTransaction(`${order.directory}/keystore.db-journal`, moment.below(500));
    else await wait(moment.below(60));
    await this.kill();
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#closed;
  }

  #send(order: Order): void {
    (this.#child.stdin as Writable).write(`${JSON.stringify(order)}\n`);
  }

  /** Spins: a timer would be late. */
  #awaitTransaction(journal: string, delayUs: number): void {
    const untilMs = performance.now() + 1000;
    while (!isHotJournal(journal) && performance.now() < untilMs);
    const killMs = performance.now() + delayUs / 1000;
    while (performance.now() < killMs);
  }

  #story(order: Order): Story {
    const lines = this.#told
      .split('\n')
      // The first is empty: it was ready.
      .slice(1, -1)
      .map((line) => JSON.parse(line) as Line);
    const done: Story['done'][number][] = [];
    const witnesses: Witness[] = [];
    let pending: Operation | undefined;
    let nextKek = order.nextKek;
    for (const line of lines) {
      if ('begin' in line) {
        pending = line.begin;
        continue;
      }
      done.push({ operation: pending!, outcome: line.end });
      pending = undefined;
      nextKek = line.nextKek;
      if (line.witness !== undefined) witnesses.push(line.witness);
    }
    if (pending?.kind === 'create') nextKek++;
    return { done, pending, witnesses, nextKek };
  }
}
