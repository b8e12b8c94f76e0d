import { Random } from '../random.ts';
import type { Corpus, CorpusBuilder, CorpusInput } from './corpus.ts';
import type { NativeCalls } from './counted-native.ts';
import { Judge, type Outcome } from './judge.ts';
import { keepsForm } from './layout.ts';
import { mutate, unchanged } from './mutate.ts';
import { indexSamples, makeLongSamples, makeSamples, type Sample } from './samples.ts';
import { encodeDecrypt, mutateWire } from './wire.ts';
import { World } from './world.ts';

/** Longest that one request may take, in milliseconds: far more than a loaded machine needs. */
const HANG_MS = 20_000;

/** Of a hundred inputs, how many change the serialised message of a Decrypt, and of another RPC. */
const WIRE_PERCENT = 4;
const OTHER_PERCENT = 5;
/** And of a thousand, how many are long. */
const LONG_PERMILLE = 3;

export interface Totals {
  inputs: number;
  /** Magic, length of the envelope and every length in it as they were. */
  keptForm: number;
  /** Inputs for which a dek-block's MAC, a payload's AEAD tag, or the upstream's was computed and compared. */
  reachedMac: number;
  reachedAead: number;
  reachedUnwrap: number;
  outcomes: Partial<Record<Outcome, number>>;
}

interface Input {
  readonly rpc: string;
  readonly bytes: Buffer;
  readonly keptForm: boolean;
}

/** One thread's share: a world of its own, and inputs that seed and index alone decide. */
export class Fuzzer {
  readonly totals: Totals = {
    inputs: 0,
    keptForm: 0,
    reachedMac: 0,
    reachedAead: 0,
    reachedUnwrap: 0,
    outcomes: {},
  };
  readonly #seed: number;
  readonly #random: Random;
  readonly #calls: NativeCalls;
  readonly #world: World;
  readonly #samples: readonly Sample[];
  readonly #longSamples: readonly Sample[];
  readonly #judge: Judge;
  readonly #others: readonly { rpc: string; bytes: Buffer }[];
  readonly #unchanged: ReadonlyMap<Sample, Buffer>;
  readonly #builder: CorpusBuilder | undefined;

  private constructor(
    seed: number,
    calls: NativeCalls,
    world: World,
    samples: readonly Sample[],
    longSamples: readonly Sample[],
    builder: CorpusBuilder | undefined,
  ) {
    this.#seed = seed;
    this.#random = new Random(seed);
    this.#calls = calls;
    this.#world = world;
    this.#samples = samples;
    this.#longSamples = longSamples;
    this.#judge = new Judge(world, indexSamples([...samples, ...longSamples]));
    this.#others = otherRequests(world, samples);
    this.#unchanged = new Map(
      [...samples, ...longSamples].map((sample) => [sample, Buffer.from(encodeDecrypt(unchanged(sample)))]),
    );
    this.#builder = builder;
  }

  /** With `builder` it keeps an input for each way in which a request ends. */
  static async make(seed: number, calls: NativeCalls, builder?: CorpusBuilder): Promise<Fuzzer> {
    const world = new World();
    const random = new Random(seed);
    const samples = await makeSamples(world, random);
    const fuzzer = new Fuzzer(seed, calls, world, samples, await makeLongSamples(world, random), builder);
    await fuzzer.#samplesOpen();
    return fuzzer;
  }

  /** Runs the inputs from `index` on; throws, with what is needed to run it again, at the first that ends as it must not. */
  async run(index: number, count: number): Promise<void> {
    for (let at = index; at < index + count; at++) {
      this.#random.reseed(this.#seed, at);
      let input: Input | undefined;
      try {
        input = this.#input();
        await this.#attempt(input);
      } catch (error) {
        const message = `--seed ${this.#seed} --at ${at}: ${input?.rpc} ${input?.bytes.toString('hex')}`;
        throw new Error(message, { cause: error });
      }
    }
  }

  close(): void {
    this.#world.close();
  }

  #input(): Input {
    const random = this.#random;
    const kind = random.below(100);
    if (kind < OTHER_PERCENT) {
      const { rpc, bytes } = random.pick(this.#others);
      return { rpc, bytes: mutateWire(bytes, random), keptForm: false };
    }
    for (;;) {
      const sample = random.pick(random.chance(LONG_PERMILLE, 1000) ? this.#longSamples : this.#samples);
      const draft = mutate(sample, random, this.#samples);
      const bytes = encodeDecrypt(draft);
      // A mutation may change nothing.
      if (bytes.equals(this.#unchanged.get(sample)!)) continue;
      if (kind < OTHER_PERCENT + WIRE_PERCENT) {
        return { rpc: 'Decrypt', bytes: mutateWire(bytes, random), keptForm: false };
      }
      return { rpc: 'Decrypt', bytes, keptForm: keepsForm(sample.layout, sample.envelope, draft.envelope) };
    }
  }

  /** No await where the answer is there at once: that would cost more than the rest. */
  #attempt(input: Input): Promise<void> | undefined {
    const before = { ...this.#calls };
    const startedAt = performance.now();
    const finish = (outcome: Outcome, error?: unknown): void => this.#finish(input, before, startedAt, outcome, error);
    let message: unknown;
    let result: unknown;
    try {
      message = this.#world.decode(input.rpc, input.bytes);
      result = this.#world.handle(input.rpc, message);
    } catch (thrown) {
      finish(this.#judge.refusal(thrown), thrown);
      return undefined;
    }
    if (input.rpc === 'Decrypt' && !(result instanceof Promise)) {
      this.#judge.decrypted(message, result);
      finish('answer');
      return undefined;
    }
    return this.#settle(input, message, result).then(({ outcome, error }) => finish(outcome, error));
  }

  async #settle(input: Input, message: unknown, result: unknown): Promise<{ outcome: Outcome; error?: unknown }> {
    let timer: NodeJS.Timeout | undefined;
    const hang = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('it does not end')), HANG_MS);
    });
    let answer: unknown;
    try {
      answer = await Promise.race([result, hang]);
    } catch (error) {
      return { outcome: this.#judge.refusal(error), error };
    } finally {
      clearTimeout(timer);
    }
    return { outcome: await this.#judge.answer(input.rpc, message, answer) };
  }

  #finish({ rpc, bytes, keptForm }: Input, before: NativeCalls, startedAt: number, outcome: Outcome, error: unknown) {
    if (performance.now() - startedAt > HANG_MS) throw new Error('it took too long');
    const { totals } = this;
    const [mac, aead, unwrap] = (['mac', 'aead', 'unwrap'] as const).map((name) => this.#calls[name] > before[name]);
    totals.inputs++;
    if (keptForm) totals.keptForm++;
    if (mac) totals.reachedMac++;
    if (aead) totals.reachedAead++;
    if (unwrap) totals.reachedUnwrap++;
    totals.outcomes[outcome] = (totals.outcomes[outcome] ?? 0) + 1;
    if (this.#builder === undefined) return;
    const cause = error instanceof Error ? error.cause : undefined;
    this.#builder.add(rpc, bytes, outcome, `${mac} ${aead} ${unwrap} ${String(error)} ${String(cause)}`);
  }

  /** What the fuzzer seals and opens, as a corpus has it. */
  corpusSamples(): CorpusInput[] {
    return [...this.#unchanged]
      .filter(([sample]) => sample.key !== 'hidden' && this.#samples.includes(sample))
      .map(([, bytes]) => ({ rpc: 'Decrypt', request: bytes.toString('hex'), outcome: 'answer' }));
  }

  /** Throws at the first input that ends in another way than when it was kept. */
  async replay({ samples, inputs }: Corpus): Promise<void> {
    for (const { rpc, request, outcome } of [...samples, ...inputs]) {
      const found = await this.#outcomeOf(rpc, Buffer.from(request, 'hex'));
      if (found !== outcome) throw new Error(`${found}, not ${outcome}: ${rpc} ${request}`);
    }
  }

  async #outcomeOf(rpc: string, bytes: Buffer): Promise<Outcome> {
    let answer: unknown;
    try {
      answer = await this.#world.handle(rpc, this.#world.decode(rpc, bytes));
    } catch (thrown) {
      return this.#judge.refusal(thrown);
    }
    this.#world.serialize(rpc, answer as object);
    return 'answer';
  }

  /** Nothing is proven by refusals when the unchanged samples are refused too. */
  async #samplesOpen(): Promise<void> {
    for (const [{ key }, bytes] of this.#unchanged) {
      if (key === 'hidden') continue;
      const message = this.#world.decode('Decrypt', bytes);
      this.#judge.decrypted(message, await this.#world.handle('Decrypt', message));
    }
  }
}

/** A request of each RPC but Decrypt, as it would succeed. */
function otherRequests(world: World, samples: readonly Sample[]): { rpc: string; bytes: Buffer }[] {
  const { envelope: ciphertext, context, associatedData } = samples[0]!;
  const common = { key: 'orders', encryption_context: { field: 'value' }, associated_data: Buffer.from('row') };
  const opened = { ciphertext, encryption_context: context, associated_data: associatedData };
  const requests: Record<string, object> = {
    Encrypt: { ...common, plaintext: Buffer.from('hello') },
    GenerateDataKey: { ...common, number_of_bytes: 32 },
    GenerateDataKeyWithoutPlaintext: { ...common, number_of_bytes: 32 },
    DescribeKey: { key: 'orders' },
    ReEncrypt: {
      ciphertext,
      source_encryption_context: context,
      source_associated_data: associatedData,
      destination_key: 'export',
    },
    Rewrap: { ciphertext },
    EncryptBatch: { items: [common, { ...common, key: 'export' }] },
    DecryptBatch: { items: [opened, opened] },
  };
  return world.rpcs
    .filter((rpc) => rpc !== 'Decrypt')
    .map((rpc) => {
      const request = requests[rpc];
      if (request === undefined) throw new Error(`the fuzzer has no request for ${rpc}`);
      return { rpc, bytes: world.encode(rpc, request) };
    });
}
