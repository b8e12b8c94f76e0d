import type { Socket } from 'node:net';
import { Share, type Work } from './share.ts';

/**
 * Streams that one uid may begin in one turn of the event loop: as many as one connection may have open. node:http2 would take
 * all that the kernel holds of every connection, thousands of calls, before anybody else has a turn.
 */
const MAX_STREAMS_A_TURN = 64;

/**
 * More begin in one turn on one connection only if the peer resets them at once: 64 may be open, and what is answered is answered when all
 * that was read at a time is taken.
 */
const MAX_STREAMS_OF_A_CONNECTION = 2 * MAX_STREAMS_A_TURN;

/** What is to be done with a stream. */
export type Turn = 'now' | 'later' | 'never';

/** Time that one uid's handlers may take in one turn until they return, whatever they do: a batch can cost as much as a thousand calls. */
const MAX_HANDLER_MS_A_TURN = 5;

/** Time that one uid may take in one turn while others call as well. */
const CONTENDED_MS_A_TURN = 1;

/** A uid that called within this time is one of those that share the thread. */
const CONTENDER_MS = 100;

/** What a uid owes it pays back at this rate: half of the time is its own, whoever else calls. */
const PAY_BACK_RATE = 1 / 2;

/** Weight of one turn in the mean of what a step costs. */
const MEAN_WEIGHT = 1 / 16;

/** A turn in which so much was spent outside of handlers is charged by what was read as well: node:http2 tells JavaScript little of it. */
const LONG_TURN_MS = 0.5;
/** What node:http2 takes for a byte at most, when it is no call. */
const BYTE_MS = 2e-6;

/** Nobody is charged more than so many times what it should have cost: the collector, or a busy machine, is nobody's fault. */
const MAX_EXCESS = 4;

/** Uids that are remembered before those are looked for that need not be. */
const FEW_UIDS = 64;

/**
 * Shares the one thread between uids, in two ways.
 *
 * In each turn of the event loop, who has begun so many calls, or taken so much time, is not read from until all others had their turn, and
 * what it has sent waits.
 *
 * While several uids call, each turn is charged to those who had it, and who owes more than a burst waits until it has paid back, and is then
 * read from one connection after the other. So a uid that would keep the thread busy leaves it idle half of the time for another one, whose
 * calls then mostly find it so. A uid that is alone never waits.
 */
export class FairTurns {
  readonly #nowMs: () => number;
  readonly #shares = new Map<number, Share>();
  #active: Share[] = [];
  /** Those that wait until they have paid back. */
  readonly #paused = new Set<Share>();
  #timer: NodeJS.Timeout | undefined;
  #turnStartMs: number | undefined;
  #paidMs = 0;
  #contended = false;
  /** Mean cost of a step, as turns of late show it. */
  #stepMs = 0.02;
  #over = false;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** Once node:http2 reads from `socket`: bytes that anybody else has read it takes in a way that can end the process (see server.ts). */
  add(uid: number, socket: Socket): void {
    this.#shareOf(uid).add(socket);
  }

  /** At each stream of `uid` on `socket`. 'later': in its turn (`wait`); 'never': the connection is misused. */
  begin(uid: number, socket: Socket): Turn {
    const share = this.#shareOf(uid);
    this.#activate(share);
    if (share.begin(socket) > MAX_STREAMS_OF_A_CONNECTION) return 'never';
    const mayBegin = !share.waits && this.#mayWork(share);
    if (mayBegin) share.steps++;
    if (!mayBegin || share.begun >= MAX_STREAMS_A_TURN) share.stop();
    return mayBegin ? 'now' : 'later';
  }

  /** Has streams that `begin` refused, or that waited for something else, taken up in their turn. */
  wait(uid: number, streams: readonly Work[]): void {
    const share = this.#shareOf(uid);
    this.#activate(share);
    for (const stream of streams) share.addStream(stream);
  }

  /** Runs `request` now, or in the uid's next turn when it has had its time in this one. */
  run(uid: number, request: Work): void {
    const share = this.#shareOf(uid);
    this.#activate(share);
    if (!share.waits && this.#mayWork(share)) {
      this.#work(share, request);
      return;
    }
    share.addRequest(request);
    share.stop();
  }

  /** Runs `request` in the uid's next turn. */
  postpone(uid: number, request: Work): void {
    const share = this.#shareOf(uid);
    this.#activate(share);
    share.addRequest(request);
  }

  /** Nobody waits any more: for the end of the server. */
  end(): void {
    this.#over = true;
    this.#wake();
  }

  #shareOf(uid: number): Share {
    let share = this.#shares.get(uid);
    if (share === undefined) {
      if (this.#shares.size >= FEW_UIDS) this.#forget();
      share = new Share();
      this.#shares.set(uid, share);
    }
    return share;
  }

  #forget(): void {
    for (const [uid, share] of this.#shares) if (share.forgettable) this.#shares.delete(uid);
  }

  #activate(share: Share): void {
    if (share.active) return;
    share.active = true;
    if (this.#active.push(share) > 1) return;
    this.#turnStartMs ??= this.#nowMs();
    // Runs when each connection that had something to read was read once.
    setImmediate(() => this.#nextTurn());
  }

  #mayWork(share: Share): boolean {
    if (this.#over) return true;
    if (!this.#contended) return share.handlerMs < MAX_HANDLER_MS_A_TURN;
    return !share.inDebt && share.handlerMs + share.steps * this.#stepMs < CONTENDED_MS_A_TURN;
  }

  #work(share: Share, work: Work): void {
    share.steps++;
    const startMs = this.#nowMs();
    work.run();
    share.handlerMs += this.#nowMs() - startMs;
    if (!this.#mayWork(share)) share.stop();
  }

  #nextTurn(): void {
    const nowMs = this.#nowMs();
    this.#charge(nowMs);
    const active = this.#active;
    this.#active = [];
    for (const share of active) share.beginTurn();
    this.#turnStartMs = nowMs;
    for (const share of active) this.#resume(share);
    if (this.#active.length === 0) this.#turnStartMs = undefined;
  }

  /** Charges the turn to those who had it. */
  #charge(nowMs: number): void {
    this.#payBack(nowMs);
    let restMs = nowMs - (this.#turnStartMs ?? nowMs);
    let steps = 0;
    for (const share of this.#active) {
      restMs -= share.handlerMs;
      steps += share.steps;
    }
    restMs = Math.max(0, restMs);
    const charged = restMs < LONG_TURN_MS ? this.#chargeSteps(restMs, steps) : this.#chargeLongTurn(restMs);
    if (steps > 0) this.#stepMs += (Math.min(charged, MAX_EXCESS * this.#stepMs) - this.#stepMs) * MEAN_WEIGHT;
  }

  #chargeSteps(restMs: number, steps: number): number {
    const stepMs = restMs / Math.max(1, steps);
    // What they brought is in their steps, and must not weigh in a long turn of somebody else, perhaps much later.
    for (const share of this.#active) share.readBytes();
    if (this.#contended) for (const share of this.#active) share.charge(share.handlerMs + share.steps * stepMs);
    return stepMs;
  }

  /** By what the steps and the bytes of each uid should have cost. What it gives is a step's cost in this turn. */
  #chargeLongTurn(restMs: number): number {
    const due = new Map<Share, number>();
    let sumMs = 0;
    for (const share of this.#shares.values()) {
      const bytes = share.readBytes();
      if (bytes > 0) this.#activate(share);
      const ms = share.steps * this.#stepMs + bytes * BYTE_MS;
      if (ms > 0) due.set(share, ms);
      sumMs += ms;
    }
    const scale = Math.min(MAX_EXCESS, restMs / sumMs);
    if (this.#contended) for (const [share, ms] of due) share.charge(share.handlerMs + ms * scale);
    return this.#stepMs * scale;
  }

  #payBack(nowMs: number): void {
    const paid = (nowMs - this.#paidMs) * PAY_BACK_RATE;
    this.#paidMs = nowMs;
    let contenders = 0;
    for (const share of this.#shares.values()) {
      share.payBack(paid);
      if (share.active) share.seenMs = nowMs;
      if (nowMs - share.seenMs < CONTENDER_MS) contenders++;
    }
    this.#contended = contenders > 1;
  }

  #resume(share: Share): void {
    if (this.#contended && share.inDebt && !this.#over) {
      this.#pause(share);
      return;
    }
    if (share.waits) {
      this.#activate(share);
      share.takeUp(
        () => this.#mayWork(share),
        (work) => this.#work(share, work),
      );
    }
    if (share.rests && !share.waits && this.#mayWork(share)) share.start();
    if (share.rests) this.#activate(share);
  }

  #pause(share: Share): void {
    share.narrow();
    this.#paused.add(share);
    this.#timer ??= setTimeout(() => this.#wake(), Math.ceil(share.excessMs / PAY_BACK_RATE)).unref();
  }

  #wake(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#payBack(this.#nowMs());
    const paused = [...this.#paused];
    this.#paused.clear();
    for (const share of paused) this.#resume(share);
  }
}
