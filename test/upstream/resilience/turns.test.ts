import test from 'ava';
import { GivenUp } from '../../../src/upstream/resilience/attempt.ts';
import { NoPlace, type TurnLimits, Turns } from '../../../src/upstream/resilience/turns.ts';
import { MovableClock, settled } from '../../helpers/movable-clock.ts';
import { seeded } from '../../keyring/load.ts';

type Payer = number | undefined;

const LIMITS: TurnLimits = { atOnce: 4, atOnceOfOne: 3, waiting: 12, waitingOfOne: 6, maxWaitMs: 3_000 };

/** Calls that hang until the test ends them, and what became of each, in order. */
class Scene {
  readonly clock = new MovableClock();
  readonly turns: Turns;
  readonly events: string[] = [];
  readonly #ends = new Map<number, () => void>();
  readonly #aborts = new Map<number, () => void>();

  constructor(limits = LIMITS) {
    this.turns = new Turns(limits, this.clock);
  }

  call(id: number, payer: Payer): void {
    const control = new AbortController();
    const gate = Promise.withResolvers<void>();
    this.#aborts.set(id, () => control.abort());
    const begun = (): Promise<void> => {
      this.events.push(`${id} begins`);
      this.#ends.set(id, gate.resolve);
      return gate.promise;
    };
    this.turns.run(payer, control.signal, begun).catch((thrown: unknown) => {
      this.events.push(`${id} ${thrown instanceof NoPlace ? thrown.why : nameOf(thrown)}`);
    });
  }

  async end(id: number): Promise<void> {
    this.#ends.get(id)?.();
    this.#ends.delete(id);
    await settled();
  }

  async abort(id: number): Promise<void> {
    this.#aborts.get(id)?.();
    await settled();
  }

  /** Whose calls began since the last look. */
  async begun(): Promise<number[]> {
    await settled();
    return this.events.splice(0).map((event) => Number.parseInt(event, 10));
  }
}

function nameOf(thrown: unknown): string {
  return thrown instanceof GivenUp ? 'gives up' : String(thrown);
}

test('one payer leaves places that another’s call takes at once; alone it waits for its own', async (t) => {
  const scene = new Scene();
  for (const id of [1, 2, 3, 4, 5]) scene.call(id, 1000);
  t.deepEqual(await scene.begun(), [1, 2, 3]);
  scene.call(6, 1001);
  t.deepEqual(await scene.begun(), [6]);
  await scene.end(6);
  t.deepEqual(await scene.begun(), [], 'the fourth place is for others');
  await scene.end(2);
  t.deepEqual(await scene.begun(), [4]);
});

test('places are given in turn to those who wait, each payer’s calls in their order', async (t) => {
  const scene = new Scene();
  for (const id of [1, 2, 3]) scene.call(id, 1);
  scene.call(4, 2);
  await scene.begun();
  for (const id of [10, 11, 12, 13]) scene.call(id, 1);
  for (const id of [20, 21]) scene.call(id, 2);
  scene.call(30, 3);
  scene.call(40, undefined);
  const order: number[] = [];
  for (const id of [1, 2, 3, 4, 20, 30, 40, 10]) {
    await scene.end(id);
    order.push(...(await scene.begun()));
  }
  t.deepEqual(order, [10, 20, 30, 40, 11, 21, 12, 13]);
});

test('who comes back after its turn waits behind those who have not had theirs', async (t) => {
  const scene = new Scene({ ...LIMITS, atOnce: 1, atOnceOfOne: 1 });
  scene.call(0, 9);
  scene.call(1, 1);
  scene.call(2, 2);
  scene.call(3, 3);
  await scene.end(0);
  scene.call(11, 1);
  const order = await scene.begun();
  for (const id of [1, 2, 3]) {
    await scene.end(id);
    order.push(...(await scene.begun()));
  }
  t.deepEqual(order, [0, 1, 2, 3, 11]);
});

test('a payer that holds as many as one may keeps its turn, and no place stays free for it', async (t) => {
  const scene = new Scene();
  for (const id of [1, 2, 3, 4, 5]) scene.call(id, 1);
  for (const id of [6, 7]) scene.call(id, 2);
  await scene.begun();
  await scene.end(6);
  t.deepEqual(await scene.begun(), [7]);
  scene.call(8, 2);
  await scene.end(1);
  t.deepEqual(await scene.begun(), [4], 'its turn was before the other’s');
});

test('a line has its bound, and all lines together have theirs', async (t) => {
  const scene = new Scene();
  for (let id = 0; id < 3 + 7; id++) scene.call(id, 1);
  await settled();
  t.deepEqual(scene.events.splice(0), ['0 begins', '1 begins', '2 begins', '9 line']);
  for (let id = 10; id < 10 + 1 + 6; id++) scene.call(id, 2);
  scene.call(20, 3);
  await settled();
  t.deepEqual(scene.events.splice(0), ['10 begins', '20 all']);
  t.deepEqual(scene.turns.load, { taken: 4, waiting: 12, payers: 2 });
});

test('who gives up leaves its line at once and makes room in it; one that gave up before is not called', async (t) => {
  const scene = new Scene();
  for (let id = 0; id < 3 + 6; id++) scene.call(id, 1);
  await scene.begun();
  await scene.abort(3);
  t.deepEqual(scene.events.splice(0), ['3 gives up']);
  scene.call(9, 1);
  t.is(scene.turns.load.waiting, 6);
  await scene.end(0);
  t.deepEqual(await scene.begun(), [4]);
  const gone = new AbortController();
  gone.abort();
  await t.throwsAsync(
    scene.turns.run(5, gone.signal, () => Promise.reject(new Error('called'))),
    { instanceOf: GivenUp },
  );
  t.is(scene.turns.load.payers, 1);
});

test('whose turn comes too late gets no place, and the next in its line has it', async (t) => {
  const scene = new Scene({ ...LIMITS, atOnce: 1, atOnceOfOne: 1 });
  for (const id of [0, 1, 2]) scene.call(id, 1);
  await scene.clock.advance(1);
  scene.call(3, 1);
  await scene.clock.advance(3_000);
  await scene.end(0);
  t.deepEqual(scene.events.sort(), ['0 begins', '1 late', '2 late', '3 begins']);
});

test('what a call throws is passed on, its place freed', async (t) => {
  const { turns } = new Scene();
  const { signal } = new AbortController();
  const thrown = new Error('its own');
  t.is(await t.throwsAsync(turns.run(1, signal, () => Promise.reject(thrown))), thrown);
  const throws = (): Promise<never> => {
    throw thrown;
  };
  t.is(await t.throwsAsync(turns.run(1, signal, throws)), thrown);
  t.deepEqual(turns.load, { taken: 0, waiting: 0, payers: 0 });
});

interface Modelled {
  readonly id: number;
  readonly payer: Payer;
  readonly sinceMs: number;
}

/** Some call far more often than others. */
const CALLERS: readonly Payer[] = [1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 4, undefined];

/** The same by looking through everything each time. */
class Reference {
  readonly running: Modelled[] = [];
  waiting: Modelled[] = [];
  readonly events: string[] = [];
  /** Payers that wait, in the order of their turns. */
  ring: Payer[] = [];

  call(one: Modelled): void {
    const waiting = of(this.waiting, one.payer);
    if (this.mayBegin(one.payer)) this.#begin(one);
    else if (waiting >= LIMITS.waitingOfOne) this.events.push(`${one.id} line`);
    else if (this.waiting.length >= LIMITS.waiting) this.events.push(`${one.id} all`);
    else {
      this.waiting.push(one);
      if (!this.ring.includes(one.payer)) this.ring.push(one.payer);
    }
  }

  end(one: Modelled, nowMs: number): void {
    this.running.splice(this.running.indexOf(one), 1);
    for (;;) {
      const payer = this.ring.findIndex((who) => of(this.running, who) < LIMITS.atOnceOfOne);
      if (payer < 0 || this.running.length === LIMITS.atOnce) return;
      const next = this.waiting.find((who) => who.payer === this.ring[payer])!;
      const isLate = nowMs - next.sinceMs > LIMITS.maxWaitMs;
      this.#leave(next);
      if (isLate) {
        this.events.push(`${next.id} late`);
        continue;
      }
      this.ring = this.ring.filter((who) => who !== next.payer);
      if (of(this.waiting, next.payer) > 0) this.ring.push(next.payer);
      this.#begin(next);
    }
  }

  mayBegin(payer: Payer): boolean {
    return this.running.length < LIMITS.atOnce && of(this.running, payer) < LIMITS.atOnceOfOne;
  }

  abort(one: Modelled): void {
    this.events.push(`${one.id} gives up`);
    this.#leave(one);
  }

  #leave(one: Modelled): void {
    this.waiting = this.waiting.filter((who) => who !== one);
    if (of(this.waiting, one.payer) === 0) this.ring = this.ring.filter((who) => who !== one.payer);
  }

  #begin(one: Modelled): void {
    this.running.push(one);
    this.events.push(`${one.id} begins`);
  }
}

function of(all: readonly Modelled[], payer: Payer): number {
  return all.filter((one) => one.payer === payer).length;
}

/** The scene and the model side by side. */
class Trial {
  readonly scene = new Scene();
  readonly model = new Reference();
  readonly #chance = seeded(50_000);

  async step(id: number): Promise<void> {
    const { scene, model } = this;
    const what = this.#random(100);
    const [running, waiting] = [model.running, model.waiting].map((all) => all[this.#random(Math.max(all.length, 1))]);
    if (what < 50) await this.#call(id);
    else if (what < 85 && running !== undefined) await this.end(running);
    else if (what < 95 && waiting !== undefined) await this.abort(waiting);
    else await scene.clock.advance(this.#random(2_000));
  }

  async end(one: Modelled): Promise<void> {
    this.model.end(one, this.scene.clock.bootMs());
    await this.scene.end(one.id);
  }

  async abort(one: Modelled): Promise<void> {
    this.model.abort(one);
    await this.scene.abort(one.id);
  }

  /** What differs, if anything does, since so many events. */
  difference(before: number): string {
    const { scene, model } = this;
    const [happened, expected] = [scene, model].map(({ events }) => `${events.slice(before).sort()}`);
    const { taken, waiting } = scene.turns.load;
    const idle = model.waiting.find(({ payer }) => model.mayBegin(payer));
    return [
      happened === expected ? '' : `${happened} instead of ${expected}`,
      taken === model.running.length && waiting === model.waiting.length ? '' : `${taken} taken, ${waiting} wait`,
      idle === undefined ? '' : `${idle.id} waits while there is a place for it`,
    ].join('');
  }

  async #call(id: number): Promise<void> {
    const payer = CALLERS[this.#random(CALLERS.length)];
    this.scene.call(id, payer);
    this.model.call({ id, payer, sinceMs: this.scene.clock.bootMs() });
    await settled();
  }

  #random(below: number): number {
    return Math.floor(this.#chance.pop()! * below);
  }
}

test('10,000 random arrivals, ends, abortions and waits go as in a simple model, and leave nothing behind', async (t) => {
  const trial = new Trial();
  const { scene, model } = trial;
  for (let id = 0; id < 10_000; id++) {
    const before = model.events.length;
    await trial.step(id);
    if (trial.difference(before) !== '') t.fail(`after ${id}: ${trial.difference(before)}`);
  }
  for (const kind of ['begins', 'line', 'all', 'late', 'gives up']) {
    t.true(scene.events.filter((event) => event.endsWith(kind)).length > 20, `too few ${kind}`);
  }
  for (const one of [...model.waiting]) await trial.abort(one);
  for (const one of [...model.running]) await trial.end(one);
  t.deepEqual(scene.turns.load, { taken: 0, waiting: 0, payers: 0 });
});
