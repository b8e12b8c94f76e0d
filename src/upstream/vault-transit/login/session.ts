import { createHash } from 'node:crypto';
import { FRESH_MS } from '../../child/child-provider.ts';
import type { Handover } from '../../child/handover.ts';
import { monotonicMs } from '../../child/monotonic.ts';
import { UpstreamFailure } from '../../failure.ts';
import type { Cluster, Send } from '../cluster.ts';
import { failureOf, isPermissionDenied, parseJson } from '../errors.ts';
import type { VaultTransitOptions } from '../options.ts';
import { issuedToken, type Lease, leaseOf } from './lease.ts';
import { type Held, type Left, type LoginRefusal, parseLeft, REFUSED_LOGIN_MS } from './left.ts';
import { credential, loginRequest } from './methods.ts';

/** A login outlives the call that asked for it, so that one that is slower than an attempt still ends. */
const LOGIN_MS = 3_000;
/** Best effort: what is not revoked expires. */
const REVOKE_MS = 500;
/** After a token was replaced the next login in its place waits: where a token that was just issued is refused as well, each call would make one more. */
const REPLACEMENT_PAUSE_MS = 5_000;
export const NEW_TOKEN_REFUSED = 'a token that was just issued is refused, by auth/token/lookup-self too';
/** At this part of its life a token is renewed. */
const RENEWAL_POINT = 2 / 3;
const SHORTEST_TIMER_MS = 1_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const MAX_ANSWER_BYTES = 65_536;

/**
 * The token of an upstream's children: logged in when it is first needed, renewed before it expires, handed over to the next child, and revoked when
 * none follows if it was logged in for.
 */
export class Session {
  readonly #cluster: Cluster;
  readonly #login: VaultTransitOptions['login'];
  readonly #prefix: string;
  readonly #handover: Handover | undefined;
  readonly #ending = new AbortController();
  #held: Held | undefined;
  /** Of monotonicMs(), as `#replacedAtMs`. */
  #loggedInAtMs = Number.NEGATIVE_INFINITY;
  #replacedAtMs = Number.NEGATIVE_INFINITY;
  #refusal: LoginRefusal | undefined;
  #underway: Promise<Held> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(cluster: Cluster, { login, namespace }: VaultTransitOptions, handover?: Handover) {
    this.#cluster = cluster;
    this.#handover = handover;
    this.#login = login;
    this.#prefix = namespace === undefined ? '' : `${namespace}/`;
  }

  /** The token to send; undefined when a proxy adds its own. Throws UpstreamFailure. */
  async token(signal: AbortSignal, fresh: boolean): Promise<string | undefined> {
    if (this.#login.method === 'proxy') return undefined;
    const held = this.#held ?? this.#inherit();
    const nowMs = monotonicMs();
    const mayServe = !fresh || nowMs - this.#loggedInAtMs < FRESH_MS;
    if (mayServe && held !== undefined && nowMs < held.expiresAtMs) return held.token;
    return (await within(signal, this.#acquire(fresh))).token;
  }

  /** Another token than `dead`. Throws UpstreamFailure, *unauthenticated* when there is none. */
  async replacement(dead: string | undefined, signal: AbortSignal): Promise<string> {
    const problem = 'the token was revoked, has expired, is used up or is unknown';
    if (this.#login.method === 'proxy')
      throw new UpstreamFailure('unauthenticated', `${problem}; it is the proxy's own`);
    if (this.#held !== undefined && this.#held.token !== dead) return this.#held.token;
    if (monotonicMs() - this.#replacedAtMs < REPLACEMENT_PAUSE_MS)
      throw new UpstreamFailure('unauthenticated', NEW_TOKEN_REFUSED);
    const { token } = await within(signal, this.#acquire(false));
    if (this.#login.method !== 'token') this.#replacedAtMs = monotonicMs();
    if (token !== dead) return token;
    throw new UpstreamFailure('unauthenticated', `${problem}, and its file still holds it`);
  }

  /** Whether the service knows the token, so that a 403 is the policy's. Throws UpstreamFailure when that cannot be told. */
  async isAlive(send: Send, token: string | undefined): Promise<boolean> {
    const answer = await send({
      method: 'GET',
      path: this.#path('auth/token/lookup-self'),
      token,
      maxBytes: MAX_ANSWER_BYTES,
    });
    if (answer.status === 200 && leaseOf(parseJson(answer.body)?.['data'], 'ttl') !== undefined) return true;
    if (isPermissionDenied(answer)) return false;
    throw failureOf('login', answer, 'lookup of the token');
  }

  /** Learns of a token in a file how long it lives, so that it is renewed also while nobody calls. */
  start(): void {
    if (this.#login.method === 'token') this.#acquire(false).catch(() => undefined);
  }

  /** Unless it `isReplaced`, the token is of no use to anybody any more. */
  async close(isReplaced = false): Promise<void> {
    clearTimeout(this.#timer);
    this.#ending.abort();
    const held = this.#held ?? this.#left().held;
    this.#held = undefined;
    if (held === undefined || isReplaced || this.#login.method === 'token') return;
    const call = { signal: AbortSignal.timeout(REVOKE_MS), fresh: false };
    const request = {
      method: 'POST',
      path: this.#path('auth/token/revoke-self'),
      token: held.token,
      maxBytes: MAX_ANSWER_BYTES,
    } as const;
    await this.#cluster.attempt(call, (send) => send(request)).catch(() => undefined);
  }

  /** One login at a time, whoever asks. */
  #acquire(fresh: boolean): Promise<Held> {
    if (this.#underway === undefined) {
      this.#underway = this.#logIn(fresh).finally(() => {
        this.#underway = undefined;
      });
    }
    return this.#underway;
  }

  async #logIn(fresh: boolean): Promise<Held> {
    if (this.#login.method === 'proxy') throw new UpstreamFailure('unauthenticated', 'a proxy logs in by itself');
    if (this.#login.method === 'token') return this.#readToken(this.#login.file);
    const { path, fields } = loginRequest(this.#login);
    const body = Buffer.from(JSON.stringify(fields));
    const digest = createHash('sha256').update(body).digest('hex');
    const request = {
      method: 'POST',
      path: this.#path(path),
      token: undefined,
      body,
      maxBytes: MAX_ANSWER_BYTES,
    } as const;
    try {
      this.#refuseAgain(digest);
      return await this.#cluster.attempt({ signal: this.#bounded(), fresh }, async (send) => {
        const answer = await send(request);
        const issued = answer.status === 200 ? issuedToken(answer) : undefined;
        if (issued === undefined) throw this.#refused(failureOf('login', answer, `login at ${path}`), digest);
        this.#refusal = undefined;
        this.#loggedInAtMs = monotonicMs();
        return this.#hold(issued.token, issued.lease);
      });
    } finally {
      body.fill(0);
    }
  }

  #refuseAgain(digest: string): void {
    const known = this.#refusal ?? this.#left().refusal;
    if (known?.digest !== digest || monotonicMs() >= known.untilMs) return;
    throw new UpstreamFailure('unauthenticated', known.message);
  }

  /** The failure, which is remembered when it counts against an AppRole. */
  #refused(failure: UpstreamFailure, digest: string): UpstreamFailure {
    if (this.#login.method !== 'approle' || failure.class !== 'unauthenticated') return failure;
    const message = `${failure.message}; it is not tried again for ${REFUSED_LOGIN_MS / 60_000} minutes, or before a file is changed`;
    this.#refusal = { digest, message, untilMs: monotonicMs() + REFUSED_LOGIN_MS };
    this.#leave({ refusal: this.#refusal });
    return new UpstreamFailure('unauthenticated', message, { cause: failure });
  }

  #readToken(file: string): Held {
    const token = credential('token', file);
    if (this.#held?.token === token) return this.#held;
    const inherited = this.#left().held;
    if (inherited?.token === token) return this.#adopt(inherited);
    const held = this.#hold(token, undefined);
    this.#learn(held).catch(() => undefined);
    return held;
  }

  #hold(token: string, lease: Lease | undefined): Held {
    const held: Held = { token, expiresAtMs: Number.POSITIVE_INFINITY, firstTtlMs: lease?.ttlMs ?? 0 };
    clearTimeout(this.#timer);
    this.#held = held;
    if (lease !== undefined) this.#extend(held, lease);
    return held;
  }

  /** What the child before this one left, if it logged in; a file is read anew. */
  #inherit(): Held | undefined {
    const inherited = this.#login.method === 'token' ? undefined : this.#left().held;
    return inherited === undefined || monotonicMs() >= inherited.expiresAtMs ? undefined : this.#adopt(inherited);
  }

  #adopt(held: Held): Held {
    clearTimeout(this.#timer);
    this.#held = held;
    if (Number.isFinite(held.expiresAtMs)) this.#renewLater(held, held.expiresAtMs - monotonicMs());
    return held;
  }

  async #learn(held: Held): Promise<void> {
    const path = this.#path('auth/token/lookup-self');
    const request = { method: 'GET', path, token: held.token, maxBytes: MAX_ANSWER_BYTES } as const;
    const answer = await this.#cluster.attempt({ signal: this.#bounded(), fresh: false }, (send) => send(request));
    const lease = answer.status === 200 ? leaseOf(parseJson(answer.body)?.['data'], 'ttl') : undefined;
    if (lease === undefined || this.#held !== held) return;
    held.firstTtlMs = lease.ttlMs;
    this.#extend(held, lease);
  }

  /** A ttl of 0 never ends (root tokens). */
  #extend(held: Held, { ttlMs, renewable }: Lease): void {
    if (this.#ending.signal.aborted) return;
    if (ttlMs !== 0) held.expiresAtMs = monotonicMs() + ttlMs;
    this.#leave({ held });
    if (ttlMs === 0 || (!renewable && this.#login.method === 'token')) return;
    this.#renewLater(held, ttlMs);
  }

  #renewLater(held: Held, leftMs: number): void {
    clearTimeout(this.#timer);
    const afterMs = Math.min(Math.max(leftMs * RENEWAL_POINT, SHORTEST_TIMER_MS), LONGEST_TIMER_MS);
    this.#timer = setTimeout(() => void this.#renew(held).catch(() => undefined), afterMs).unref();
  }

  async #renew(held: Held): Promise<void> {
    if (this.#held !== held) return;
    // Of a token in a file the other child may have been first.
    const known = this.#left().held;
    if (known?.token === held.token && known.expiresAtMs > held.expiresAtMs) return void this.#adopt(known);
    const lease = await this.#renewedLease(held).catch(() => undefined);
    if (this.#held !== held) return;
    // Near its maximal life a token is extended by less and less.
    if (lease !== undefined && lease.ttlMs >= held.firstTtlMs / 2) return this.#extend(held, lease);
    if (this.#login.method !== 'token') return void (await this.#acquire(false));
    if (lease !== undefined) held.expiresAtMs = monotonicMs() + lease.ttlMs;
    const leftMs = held.expiresAtMs - monotonicMs();
    if (leftMs > SHORTEST_TIMER_MS) this.#renewLater(held, leftMs);
  }

  async #renewedLease({ token }: Held): Promise<Lease | undefined> {
    const body = Buffer.from('{}');
    const request = {
      method: 'POST',
      path: this.#path('auth/token/renew-self'),
      token,
      body,
      maxBytes: MAX_ANSWER_BYTES,
    } as const;
    return this.#cluster.attempt({ signal: this.#bounded(), fresh: false }, async (send) => {
      const answer = await send(request);
      if (answer.status !== 200) throw failureOf('login', answer, 'renewal of the token');
      return leaseOf(parseJson(answer.body)?.['auth'], 'lease_duration');
    });
  }

  #left(): Left {
    return parseLeft(this.#handover?.read());
  }

  #leave(change: Left): void {
    this.#handover?.write({ ...this.#left(), ...change });
  }

  #path(path: string): string {
    return `${this.#prefix}${path}`;
  }

  #bounded(): AbortSignal {
    return AbortSignal.any([this.#ending.signal, AbortSignal.timeout(LOGIN_MS)]);
  }
}

/** The promise, for as long as the signal allows; it goes on without whoever waited. */
async function within<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(new UpstreamFailure('unreachable', 'the login took longer than the call'));
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
