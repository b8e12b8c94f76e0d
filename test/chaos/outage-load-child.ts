// `node outage-load-child.ts`, forked: its first message is a LoadPlan, each later one an Order (outage-load.ts). Calls are sent when their time
// has come, whatever became of those before them.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import type { MethodDefinition, ServiceDefinition } from '@grpc/proto-loader';
import { PROTOS } from '../helpers/client.ts';
import {
  type Calls,
  type LoadPlan,
  type Order,
  PROBLEM,
  type Problem,
  SERVED,
  type Sealed,
  type Stream,
  type UsedDek,
} from './outage-load.ts';

const SERVICE = PROTOS['dekd.v1.KeyAgent'] as ServiceDefinition;
/** An agent takes 64 calls at once on each. */
const CONNECTIONS = 8;
const DEADLINE_MS = 10_000;
const TICK_MS = 1;
const RESOLUTION_MS = 2;
/** More at once would only make all of them late. */
const MAX_UNDER_WAY = 500;
const MAX_BEHIND_MS = 50;
const WARMING = 16;
const MAX_TRIES = 20;
const UNAVAILABLE = 14;
/** Answers of Encrypt that Decrypt draws from, and how often. */
const OWN = 256;
const OWN_EVERY = 10;
const TEXT_BYTES = 256;

process.once('disconnect', () => process.exit());
const plan = await new Promise<LoadPlan>((resolve) =>
  process.once('message', (message) => resolve(message as LoadPlan)),
);
const clients = Array.from(
  { length: CONNECTIONS },
  () => new Client(`unix:${plan.socket}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 }),
);
let turn = 0;
let underWay = 0;
let aheadMs = Date.now() - performance.now();

interface Answer {
  readonly ciphertext: Buffer;
  readonly plaintext: Buffer;
  readonly served_in_grace: boolean;
}

type Done = (problem: Problem | undefined, answer?: Answer) => void;

function call(rpc: 'Encrypt' | 'Decrypt', request: object, done: Done): void {
  const { path, requestSerialize, responseDeserialize } = SERVICE[rpc] as MethodDefinition<object, object>;
  const client = clients[turn++ % CONNECTIONS]!;
  const options = { deadline: Date.now() + DEADLINE_MS };
  underWay++;
  client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, (error, answer) => {
    underWay--;
    if (error === null) done(undefined, answer as Answer);
    else done({ code: error.code, text: `${rpc}: ${(error as ServiceError).details}` });
  });
}

function decrypt({ tenant, ciphertext, plaintext }: Sealed, done: Done): void {
  call('Decrypt', { ciphertext, encryption_context: { tenant } }, (problem, answer) => {
    if (answer === undefined) done(problem);
    else if (!plaintext.equals(answer.plaintext)) done({ code: -1, text: 'Decrypt: another plaintext came back' });
    else done(undefined, answer);
  });
}

/** What became of calls, in columns. */
class Records {
  readonly #deks: UsedDek[] = [];
  readonly #indices = new Map<string, number>();
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  #problems: Problem[] = [];
  #columns = { sentMs: [] as number[], receivedMs: [] as number[], outcome: [] as number[], dek: [] as number[] };

  constructor() {
    this.#delay.enable();
  }

  add(sentMs: number, dek: number, problem: Problem | undefined, inGrace: boolean): void {
    const { sentMs: sent, receivedMs, outcome, dek: deks } = this.#columns;
    sent.push(sentMs);
    receivedMs.push(nowMs());
    outcome.push(problem === undefined ? SERVED + Number(inGrace) : PROBLEM + this.#problem(problem));
    deks.push(dek);
  }

  dek(stream: string, key: string, envelope: Buffer | undefined, isIdle = false): number {
    // docs/envelope.md: the dek_id is in bytes 8 to 39.
    const id = envelope === undefined ? '' : envelope.toString('hex', 8, 40);
    const name = `${stream} ${key} ${id}`;
    let index = this.#indices.get(name);
    if (index === undefined) {
      index = this.#deks.push({ id, key, stream, isIdle }) - 1;
      this.#indices.set(name, index);
    }
    return index;
  }

  take(): Calls {
    const { sentMs, receivedMs, outcome, dek } = this.#columns;
    const taken = {
      sentMs: Float64Array.from(sentMs),
      receivedMs: Float64Array.from(receivedMs),
      outcome: Uint16Array.from(outcome),
      dek: Uint16Array.from(dek),
      deks: this.#deks,
      problems: this.#problems,
      lateMs: Math.max(0, this.#delay.percentile(99) / 1e6 - RESOLUTION_MS),
    };
    this.#columns = { sentMs: [], receivedMs: [], outcome: [], dek: [] };
    this.#problems = [];
    this.#delay.reset();
    // The wall clock may be set meanwhile.
    aheadMs = Date.now() - performance.now();
    return taken;
  }

  #problem({ code, text }: Problem): number {
    const known = this.#problems.findIndex((problem) => problem.code === code && problem.text === text);
    return known >= 0 ? known : this.#problems.push({ code, text }) - 1;
  }
}

/** Calls of one stream, in its rate. */
class Caller {
  readonly #name: string;
  readonly #stream: Stream;
  readonly #own: Sealed[] = [];
  /** The DEK that encrypted last for a partition: an Encrypt that fails is one with it. */
  readonly #encrypting = new Map<string, number>();
  #sent = 0;
  #idleSent = 0;
  #busyTurn = 0;
  /** When the next call, and the next one with an idle DEK, is due. */
  #nextMs = 0;
  #nextIdleMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(name: string, stream: Stream) {
    this.#name = name;
    this.#stream = stream;
  }

  get sealed(): readonly Sealed[] {
    return [...this.#stream.busy, ...this.#stream.idle];
  }

  start(): void {
    this.#nextMs = nowMs();
    this.#nextIdleMs = this.#nextMs;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const { callsPerSecond, idle, idleEveryMs, partitions } = this.#stream;
    this.#nextMs = sendDue(this.#nextMs, 1000 / callsPerSecond, () => {
      if (this.#sent % 2 === 0 && partitions.length > 0) this.#encrypt();
      else this.#decrypt(this.#draw());
      this.#sent++;
    });
    if (idle.length === 0) return;
    this.#nextIdleMs = sendDue(this.#nextIdleMs, idleEveryMs / idle.length, () => {
      this.#decrypt(idle[this.#idleSent++ % idle.length]!, true);
    });
  }

  #draw(): Sealed {
    const own = this.#own[this.#sent % OWN];
    const { busy } = this.#stream;
    if (own !== undefined && (busy.length === 0 || Math.floor(this.#sent / 2) % OWN_EVERY === 0)) return own;
    return busy[this.#busyTurn++ % busy.length]!;
  }

  #encrypt(): void {
    const { key, tenant } = this.#stream.partitions[(this.#sent / 2) % this.#stream.partitions.length]!;
    const plaintext = Buffer.alloc(TEXT_BYTES, `${this.#sent} `);
    const at = Math.floor(Math.random() * OWN);
    const sentMs = nowMs();
    call('Encrypt', { key, plaintext, encryption_context: { tenant } }, (problem, answer) => {
      const partition = `${key} ${tenant}`;
      const dek =
        answer === undefined
          ? (this.#encrypting.get(partition) ?? records.dek(this.#name, key, undefined))
          : records.dek(this.#name, key, answer.ciphertext);
      this.#encrypting.set(partition, dek);
      records.add(sentMs, dek, problem, answer?.served_in_grace ?? false);
      if (answer !== undefined) this.#own[at] = { key, tenant, ciphertext: answer.ciphertext, plaintext };
    });
  }

  #decrypt(sealed: Sealed, isIdle = false): void {
    const dek = records.dek(this.#name, sealed.key, sealed.ciphertext, isIdle);
    const sentMs = nowMs();
    decrypt(sealed, (problem, answer) => records.add(sentMs, dek, problem, answer?.served_in_grace ?? false));
  }
}

/** Sends what is due since `nextMs`, one each `everyMs`, and returns when the next one is. Who is late on a busy machine leaves calls out. */
function sendDue(nextMs: number, everyMs: number, send: () => void): number {
  const now = nowMs();
  let next = Math.max(nextMs, now - MAX_BEHIND_MS);
  for (; next <= now && underWay < MAX_UNDER_WAY; next += everyMs) send();
  return next;
}

const records = new Records();
const callers = new Map(Object.entries(plan.streams).map(([name, stream]) => [name, new Caller(name, stream)]));

async function obey(order: Order): Promise<Calls | undefined> {
  switch (order.do) {
    case 'start':
      callers.get(order.stream)!.start();
      return undefined;
    case 'stop':
      callers.get(order.stream)!.stop();
      return undefined;
    case 'warm':
      await warm();
      return undefined;
    case 'take':
      return records.take();
  }
}

/** Every ciphertext but those of streams that have no partitions: their DEKs stay cold. */
async function warm(): Promise<void> {
  const cold = new Set(
    Object.entries(plan.streams).flatMap(([name, { partitions }]) => (partitions.length > 0 ? [] : name)),
  );
  const all = [...callers].flatMap(([name, caller]) => (cold.has(name) ? [] : caller.sealed)).values();
  await Promise.all(
    Array.from({ length: WARMING }, async () => {
      for (const sealed of all) await opened(sealed);
    }),
  );
}

/** On a busy machine an upstream may take longer than an attempt. */
async function opened(sealed: Sealed): Promise<void> {
  for (let tries = 0; ; tries++) {
    const problem = await new Promise<Problem | undefined>((resolve) => decrypt(sealed, resolve));
    if (problem === undefined) return;
    if (problem.code !== UNAVAILABLE || tries === MAX_TRIES) throw new Error(`${problem.code} ${problem.text}`);
    await sleep(1_000);
  }
}

/** Since 1970, as other processes see it, and finer than a millisecond. */
function nowMs(): number {
  return aheadMs + performance.now();
}

process.on('message', (order: Order) => {
  void obey(order).then((answer) => process.send?.(answer ?? { done: order.do }));
});
process.send?.('connected');
