import type { ExecutionContext } from 'ava';
import type { EncryptionContext } from '../../src/crypto/context.ts';
import { openEnvelope, parseEnvelope, sealMessage } from '../../src/crypto/envelope.ts';
import { openArena } from '../../src/crypto/native.ts';
import { DekdError } from '../../src/errors.ts';
import type { CallDeks } from '../../src/keyring/call-deks.ts';
import type { Dek } from '../../src/keyring/dek.ts';
import type { KeyringEvents } from '../../src/keyring/events.ts';
import { Kek } from '../../src/keyring/kek.ts';
import type { Keyring } from '../../src/keyring/keyring.ts';
import { Keyrings } from '../../src/keyring/keyrings.ts';
import type { CacheOptions, KeyOptions, RecipientRole } from '../../src/keyring/options.ts';
import type { QuotaLimits } from '../../src/keyring/quota.ts';
import type { Waiter } from '../../src/keyring/single-flight.ts';
import type { Upstream, UpstreamType } from '../../src/upstream/provider.ts';
import { ResilientUpstream } from '../../src/upstream/resilience/resilient-upstream.ts';
import { ScriptedUpstream } from '../fakes/scripted-upstream.ts';
import { MovableClock, settled } from '../helpers/movable-clock.ts';
import { TimedUpstream } from '../helpers/timed-upstream.ts';

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const TTL = 5 * MINUTE;
export const GRACE = HOUR;

const CACHE: CacheOptions = {
  mode: 'session',
  ttlMs: TTL,
  graceMs: GRACE,
  rotateAfterMs: 24 * HOUR,
  maxMessages: 1_000_000,
  maxBytes: 2 ** 40,
  maxDeks: 1_000,
  maxPartitions: 1_000,
  refresh: 'verify',
  verifyWrap: true,
};

/** Nobody's misses are too many. */
const LIMITS: QuotaLimits = {
  perPrincipal: { perSecond: 1_000_000, burst: 1_000_000 },
  perKey: { perSecond: 1_000_000, burst: 1_000_000 },
};

export interface KeySetup {
  readonly name?: string;
  readonly suite?: number;
  /** By the KEK's name; default one authority, `main`. */
  readonly recipients?: readonly (readonly [kek: string, role: RecipientRole])[];
  readonly decryptWith?: readonly string[];
  readonly partitionBy?: readonly string[];
  readonly wrap?: 'all' | 'any';
  readonly cache?: Partial<CacheOptions>;
}

export interface Sealed {
  readonly ciphertext: Buffer;
  readonly grace: boolean;
  readonly dek: Dek;
}

export interface Opened {
  readonly text: string;
  readonly grace: boolean;
  readonly dek: Dek;
}

export type Outcome<T> = { value: T; tookMs: number } | { error: DekdError; tookMs: number };

/** Keyrings on a clock that the test moves and an upstream that it scripts. */
export class World {
  readonly clock: MovableClock;
  readonly upstream: ScriptedUpstream;
  /** What KEKs call. */
  readonly edge: Upstream;
  readonly events: string[] = [];
  readonly keyrings: Keyrings;
  readonly peers: World[] = [];
  readonly #keks = new Map<string, Kek>();

  constructor(
    clock = new MovableClock(),
    upstream = new ScriptedUpstream(clock),
    limits = LIMITS,
    edge: Upstream = new TimedUpstream(upstream, clock),
  ) {
    this.clock = clock;
    this.upstream = upstream;
    this.edge = edge;
    this.keyrings = new Keyrings(clock, recorder(this.events), limits);
  }

  kek(name: string): Kek {
    const known = this.#keks.get(name) ?? new Kek(uriOf(name, this.upstream.type), 'scripted', this.edge, this.clock);
    this.#keks.set(name, known);
    return known;
  }

  key(setup: KeySetup = {}): TestKey {
    const options: KeyOptions = {
      name: setup.name ?? 'orders',
      suite: setup.suite ?? 1,
      recipients: (setup.recipients ?? [['main', 'authority']]).map(([kek, role]) => ({ kek: this.kek(kek), role })),
      decryptWith: (setup.decryptWith ?? []).map((kek) => this.kek(kek)),
      partitionBy: setup.partitionBy ?? [],
      wrap: setup.wrap ?? 'all',
      cache: { ...CACHE, ...setup.cache },
    };
    return new TestKey(this, this.keyrings.add(options));
  }

  /** Another agent with the same upstream and the same time. */
  peer(setup: KeySetup = {}): TestKey {
    const other = new World(this.clock, this.upstream);
    this.peers.push(other);
    return other.key(setup);
  }

  /** How a call ends when the clock goes on in steps of `stepMs`, at most `withinMs`. */
  async outcome<T>(call: T | Promise<T>, withinMs = 30 * SECOND, stepMs = 50): Promise<Outcome<T>> {
    const startedAtMs = this.clock.bootMs();
    let ended: Outcome<T> | undefined;
    const end = (result: { value: T } | { error: DekdError }): void => {
      ended = { ...result, tookMs: this.clock.bootMs() - startedAtMs };
    };
    Promise.resolve(call).then(
      (value) => end({ value }),
      (error: unknown) => end({ error: DekdError.from(error) }),
    );
    await settled();
    while (ended === undefined && this.clock.bootMs() - startedAtMs < withinMs) await this.clock.advance(stepMs);
    if (ended === undefined) throw new Error(`no outcome within ${withinMs} ms`);
    return ended;
  }

  /** The value of a call, the clock going on as long as it takes. */
  async value<T>(call: T | Promise<T>): Promise<T> {
    const outcome = await this.outcome(call);
    if ('error' in outcome) throw outcome.error;
    return outcome.value;
  }

  /** The reason for which a call fails. */
  async reason(call: () => unknown): Promise<string> {
    const outcome = await this.outcome(attempt(call));
    return 'error' in outcome ? outcome.error.reason : 'none';
  }
}

/** One key of a World. */
export class TestKey {
  readonly world: World;
  readonly ring: Keyring;

  constructor(world: World, ring: Keyring) {
    this.world = world;
    this.ring = ring;
  }

  encrypt(
    pairs: Readonly<Record<string, string>> = {},
    text = 'hello',
    signal = new AbortController().signal,
    call?: CallDeks,
  ): Sealed | Promise<Sealed> {
    const context = contextOf(pairs);
    const plaintext = Buffer.from(text);
    return this.ring.encrypt(
      context,
      plaintext.length,
      (dek, grace) => ({
        ciphertext: sealMessage(dek.handle, dek.prefix, context, Buffer.alloc(0), plaintext),
        grace,
        dek,
      }),
      waiterOf(signal),
      call,
    );
  }

  decrypt(
    ciphertext: Buffer,
    pairs: Readonly<Record<string, string>> = {},
    signal = new AbortController().signal,
    call?: CallDeks,
  ): Opened | Promise<Opened> {
    const context = contextOf(pairs);
    const located = this.world.keyrings.locate(parseEnvelope(ciphertext));
    const { envelope } = located;
    return this.ring.decrypt(
      located,
      context,
      (dek, grace) => ({
        text: openEnvelope(dek.handle, envelope, context, Buffer.alloc(0)).toString(),
        grace,
        dek,
      }),
      waiterOf(signal),
      call,
    );
  }

  /** A message under a DEK that this key holds from now on. */
  seal(pairs: Readonly<Record<string, string>> = {}, text = 'hello'): Promise<Sealed> {
    return this.world.value(this.encrypt(pairs, text));
  }

  get held(): Dek[] {
    return [...this.ring.all()];
  }
}

/** A call of uid 1000. */
export function waiterOf(signal = new AbortController().signal, uid = 1000): Waiter {
  return { signal, principal: { uid } };
}

/** A world that is closed when the test ends. */
export function makeWorld(t: ExecutionContext, limits?: QuotaLimits, type?: UpstreamType): World {
  const clock = new MovableClock();
  return untilEnd(t, new World(clock, new ScriptedUpstream(clock, type), limits));
}

/** The same with what dekd has between a KEK and its upstream: retries, breakers and rooms. `apart`: each KEK is at an endpoint of its own. */
export function makeResilientWorld(
  t: ExecutionContext,
  { limits, apart = false }: { limits?: QuotaLimits; apart?: boolean } = {},
): World & { readonly edge: ResilientUpstream } {
  const clock = new MovableClock();
  const upstream = new ScriptedUpstream(clock);
  const edge = new ResilientUpstream(
    'scripted',
    apart ? Object.assign(upstream, { endpoint: (kek: string) => kek }) : upstream,
    clock,
  );
  return untilEnd(t, Object.assign(new World(clock, upstream, limits, edge), { edge }));
}

/** The world, closed when the test ends. */
export function untilEnd<W extends World>(t: ExecutionContext, world: W): W {
  openArena({ size: 1 << 20, lock: 'best-effort' });
  t.teardown(async () => {
    for (const { keyrings } of [world, ...world.peers]) keyrings.close();
    await world.edge.close();
  });
  return world;
}

/** Asserts that a hit is a plain value, and returns it. */
export function plain<T>(t: ExecutionContext, result: T | Promise<T>): T {
  if (result instanceof Promise) {
    result.catch(() => undefined);
    t.fail('a hit must be a plain value, not a promise');
  }
  t.false(result instanceof Promise);
  return result as T;
}

/** What a synchronous call throws as a rejection, so that both kinds of failure read alike. */
export async function attempt<T>(call: () => T | Promise<T>): Promise<T> {
  return call();
}

export function uriOf(kekName: string, type: UpstreamType = 'local'): string {
  return `${type}:0123456789abcdef/${kekName}`;
}

export function contextOf(pairs: Readonly<Record<string, string>>): EncryptionContext {
  return new Map(Object.entries(pairs));
}

function recorder(events: string[]): KeyringEvents {
  return {
    outage: (kek) => events.push(`outage ${kek.uri}`),
    recovery: (kek) => events.push(`recovery ${kek.uri}`),
    refusalSeen: (refusal) => events.push(`seen ${refusal.scope}`),
    refusalPending: (refusal) => events.push(`pending ${refusal.scope}`),
    refusalConfirmed: (refusal, purged) => events.push(`confirmed ${refusal.scope} ${purged}`),
    refusalWithdrawn: (refusal) => events.push(`withdrawn ${refusal.scope}`),
    rotationFailed: (key, error) => events.push(`rotation-failed ${key} ${error.reason}`),
    dekDisowned: (key, error) => events.push(`disowned ${key} ${error.reason}`),
    clockStepped: (stepMs) => events.push(`step ${stepMs}`),
  };
}
