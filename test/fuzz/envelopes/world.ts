import type { ServiceDefinition } from '@grpc/proto-loader';
import { MAXIMA } from '../../../src/api/batch.ts';
import type { Call } from '../../../src/api/call.ts';
import { agentHandlers } from '../../../src/api/handlers.ts';
import type { Parts } from '../../../src/api/parts.ts';
import { openArena } from '../../../src/crypto/native.ts';
import { itemErrors, rpcErrors } from '../../../src/daemon/rpc-errors.ts';
import { systemClock } from '../../../src/keyring/clock.ts';
import { Kek } from '../../../src/keyring/kek.ts';
import { Keyrings } from '../../../src/keyring/keyrings.ts';
import type { CacheOptions, KeyOptions } from '../../../src/keyring/options.ts';
import { compilePolicy } from '../../../src/policy/authorize.ts';
import { createLogger } from '../../../src/telemetry/logger.ts';
import { IncomingMessage } from '../../../src/transport/grpc-js/incoming-message.ts';
import { MessageTables } from '../../../src/transport/message-table.ts';
import { loadProtos } from '../../../src/transport/protos.ts';
import type { RpcStatus } from '../../../src/transport/transport.ts';
import { silentEvents } from '../../fakes/silent-events.ts';
import { FixedUpstream } from './fixed-upstream.ts';

const HOUR_MS = 3_600_000;

const CACHE: CacheOptions = {
  mode: 'session',
  ttlMs: 100 * HOUR_MS,
  graceMs: HOUR_MS,
  rotateAfterMs: 100 * HOUR_MS,
  maxMessages: 2 ** 40,
  maxBytes: 2 ** 50,
  maxDeks: 500,
  maxPartitions: 100,
  refresh: 'verify',
  verifyWrap: true,
};

/** The caller may use all keys but `hidden`. Of `single` every operation asks the upstream. */
export const KEYS: readonly FuzzedKey[] = [
  { name: 'orders', suite: 1, partitionBy: [], mode: 'session', standby: false },
  { name: 'export', suite: 2, partitionBy: [], mode: 'session', standby: true },
  { name: 'tenant', suite: 1, partitionBy: ['tenant'], mode: 'session', standby: true },
  { name: 'single', suite: 1, partitionBy: [], mode: 'none', standby: false },
  { name: 'hidden', suite: 1, partitionBy: [], mode: 'session', standby: false },
];

interface FuzzedKey {
  readonly name: string;
  readonly suite: number;
  readonly partitionBy: readonly string[];
  readonly mode: CacheOptions['mode'];
  /** A second recipient. */
  readonly standby: boolean;
}

const USER = { uid: 1000, gid: 1000, groups: [] };
const OPERATOR = { uid: 1002, gid: 1002, groups: [] };
const OWNER = { uid: 1001, gid: 1001, groups: [] };

// biome-ignore lint/suspicious/noExplicitAny: messages are what proto-loader decodes
export type Message = any;

const LIMITS = { perPrincipal: { perSecond: 1, burst: 1 }, perKey: { perSecond: 1, burst: 1 } };

/** Everything that a request goes through from its bytes on: message check, decoder, handlers, policy, keyrings, addon, upstream. */
export class World {
  readonly rpcs: readonly string[];
  readonly #handlers: ReturnType<typeof agentHandlers>;
  readonly #definition: ServiceDefinition;
  readonly #tables: MessageTables;
  readonly #decoders = new Map<string, (bytes: Buffer) => unknown>();
  readonly #keyrings: Keyrings;
  readonly #toStatus: ReturnType<typeof rpcErrors>;

  constructor() {
    openArena({ size: 2 ** 22, lock: 'best-effort' });
    this.#keyrings = new Keyrings(systemClock, silentEvents, LIMITS);
    const upstream = new FixedUpstream();
    for (const key of KEYS) this.#keyrings.add(keyOptions(key, upstream));
    const user = (name: string) => ({ uid: name === 'hidden' ? OWNER.uid : USER.uid, roles: ['user' as const] });
    const operator = { uid: OPERATOR.uid, roles: ['operator' as const] };
    const keys = new Map(KEYS.map(({ name }) => [name, [user(name), operator]]));
    const policy = compilePolicy({ keys, admin: [], profile: 'production', ownUid: 4000 });
    const protos = loadProtos();
    this.#definition = protos['dekd.v1.KeyAgent'] as ServiceDefinition;
    this.#tables = new MessageTables(protos, MAXIMA);
    const logger = createLogger('silent');
    const parts = { keyrings: this.#keyrings, policy, itemStatus: itemErrors(protos, logger) };
    // The service of the agent socket asks nothing of the administration.
    this.#handlers = agentHandlers(parts as unknown as Parts);
    this.#toStatus = rpcErrors(protos, logger);
    this.rpcs = Object.keys(this.#handlers);
  }

  encode(rpc: string, request: object): Buffer {
    return this.#method(rpc).requestSerialize(request);
  }

  /** What the bytes say. Throws what is thrown when they say nothing. */
  decode(rpc: string, bytes: Buffer): unknown {
    const known = this.#decoders.get(rpc);
    if (known !== undefined) return known(bytes);
    const { requestDeserialize } = this.#method(rpc);
    const table = this.#tables.of(this.#method(rpc).requestType as Parameters<MessageTables['of']>[0]);
    const decoder = (message: Buffer): unknown => new IncomingMessage(message, table, requestDeserialize).read();
    this.#decoders.set(rpc, decoder);
    return decoder(bytes);
  }

  /** What the handler gives: a value, a promise or an exception. */
  handle(rpc: string, message: unknown, asOwner = false): Message {
    const caller = asOwner ? OWNER_CALL : rpc === 'Rewrap' ? OPERATOR_CALL : USER_CALL;
    return this.#handlers[rpc]!(message, caller);
  }

  /** That the answer can be sent. */
  serialize(rpc: string, answer: object): Buffer {
    return this.#method(rpc).responseSerialize(answer);
  }

  /** What its caller would see of an error. */
  status(thrown: unknown): RpcStatus {
    return this.#toStatus(thrown, TRANSPORT_CALL);
  }

  close(): void {
    this.#keyrings.close();
  }

  #method(rpc: string): ServiceDefinition[string] {
    const method = this.#definition[rpc];
    if (method === undefined) throw new Error(`no RPC ${rpc}`);
    return method;
  }
}

function keyOptions(key: FuzzedKey, upstream: FixedUpstream): KeyOptions {
  const kek = (suffix: string): Kek =>
    new Kek(`local:0123456789abcdef/${key.name}${suffix}`, 'fixed', upstream, systemClock);
  const standby = key.standby ? [{ kek: kek('-standby'), role: 'standby' as const }] : [];
  return {
    name: key.name,
    suite: key.suite,
    recipients: [{ kek: kek(''), role: 'authority' }, ...standby],
    decryptWith: [],
    partitionBy: key.partitionBy,
    wrap: 'all',
    cache: { ...CACHE, mode: key.mode },
  };
}

const NEVER = new AbortController().signal;
const call = (principal: typeof USER): Call => ({
  principal,
  requestId: 'fuzz',
  signal: NEVER,
  wipeLater: () => {},
});
const USER_CALL = call(USER);
const OWNER_CALL = call(OWNER);
const OPERATOR_CALL = call(OPERATOR);
const TRANSPORT_CALL = { ...USER_CALL, method: 'dekd.v1.KeyAgent/Decrypt' };
