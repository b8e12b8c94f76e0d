import { adminHandlers, agentHandlers } from '../api/handlers.ts';
import type { Parts } from '../api/parts.ts';
import type { Config } from '../config/config.ts';
import { hardenProcess, openArena } from '../crypto/native.ts';
import { DekdError } from '../errors.ts';
import { systemClock } from '../keyring/clock.ts';
import { Keyrings } from '../keyring/keyrings.ts';
import { compilePolicy } from '../policy/authorize.ts';
import type { Logger } from '../telemetry/logger.ts';
import { EVENTS } from '../telemetry/names.ts';
import type { UnixReservation } from '../transport/listener.ts';
import type { Principal } from '../transport/principal.ts';
import { loadProtos } from '../transport/protos.ts';
import { RequestMemory } from '../transport/request-memory.ts';
import type { RefusedConnection } from '../transport/transport.ts';
import { openUpstream } from '../upstream/registry.ts';
import { DaemonAdministration } from './administration.ts';
import { Closers } from './closers.ts';
import { KekFollower } from './kek-follower.ts';
import { Keks, keyOptions } from './key-options.ts';
import { logBreaker, logKeyringEvents } from './log-events.ts';
import { makeMissingKeks, tellMissingKeks } from './missing-keks.ts';
import { RevocationsFollower } from './revocations-follower.ts';
import { itemErrors, rpcErrors } from './rpc-errors.ts';
import { type OpenSocket, openSocket, reserveSocket } from './sockets.ts';
import { type UpstreamEdge, upstreamEdge } from './upstream-edges.ts';
import { warmStartupKeys } from './warm.ts';

/** 32 requests of the largest size at once, on both sockets together. */
const REQUEST_MEMORY_BYTES = 128 * 1024 * 1024;

export interface RunningDaemon {
  readonly agentSocket: string;
  readonly adminSocket: string;
  /** From the start of the process to open sockets, in milliseconds. */
  readonly readyMs: number;
  /** Drains, zeroes every key, closes. A second call waits for the first. */
  stop(): Promise<void>;
}

export interface DaemonOptions {
  readonly logger: Logger;
  /** dekd's own, which GetStatus shows. */
  readonly version: string;
}

/** Starts the parts in the order in which they need each other; what was started is closed again when a later one fails. */
export async function startDaemon(config: Config, { logger, version }: DaemonOptions): Promise<RunningDaemon> {
  const closers = new Closers(logger);
  try {
    const warnings = secureProcess(config, logger);
    const reserved = await reserveSockets(config, closers);
    const edges = await openUpstreams(config, closers, logger);
    const { parts, follower, revocations } = await assemble(config, edges, warnings, { logger, version });
    closers.add(() => parts.keyrings.close());
    closers.add(() => follower.stop());
    closers.add(() => revocations?.stop());
    const sockets = await openSockets(config, reserved, parts, logger, closers);
    const stopWarming = warmStartupKeys(parts.keyrings, logger, () =>
      sockets.agent.server.setHealth('dekd.v1.KeyAgent', true),
    );
    closers.add(stopWarming);
    const readyMs = performance.now();
    const { agent, admin } = config.listen;
    logger.info({ event: EVENTS.ready, agent: agent.path, admin: admin.path, readyMs: Math.round(readyMs) }, 'ready');
    let stopping: Promise<void> | undefined;
    const stop = (): Promise<void> => {
      stopping ??= stopAll(closers, logger);
      return stopping;
    };
    return { agentSocket: agent.path, adminSocket: admin.path, readyMs, stop };
  } catch (error) {
    await closers.closeAll();
    throw error;
  }
}

async function stopAll(closers: Closers, logger: Logger): Promise<void> {
  logger.info({ event: EVENTS.stopping }, 'stopping: running calls may end');
  const [failure] = await closers.closeAll();
  if (failure !== undefined) throw failure;
  logger.info({ event: EVENTS.stopped }, 'stopped');
}

/** Before any secret exists: no core dump, no debugger, locked memory. */
function secureProcess(config: Config, logger: Logger): string[] {
  const warnings: string[] = [];
  hardenProcess();
  const { lock, sizeBytes } = config.memory;
  const arena = openSecretMemory(lock, sizeBytes);
  const fields = { event: EVENTS.memory, kind: arena.kind, size: arena.size, slots: arena.slots };
  logger.info(fields, 'secret memory is open');
  if (arena.kind === 'unlocked') warnings.push('secret memory is not locked: keys may reach swap');
  if (arena.size < arena.requested) {
    warnings.push(`secret memory: ${arena.size} of ${arena.requested} bytes; raise RLIMIT_MEMLOCK for more`);
  }
  for (const warning of [...config.warnings, ...warnings]) logger.warn({ event: EVENTS.warning }, warning);
  return warnings;
}

function openSecretMemory(lock: 'required' | 'best-effort', size: number): ReturnType<typeof openArena> {
  try {
    return openArena({ size, lock });
  } catch (error) {
    throw new DekdError('INVALID_REQUEST', `memory: ${(error as Error).message}`, { cause: error });
  }
}

async function openUpstreams(config: Config, closers: Closers, logger: Logger): Promise<Map<string, UpstreamEdge>> {
  const edges = new Map<string, UpstreamEdge>();
  for (const [name, options] of config.upstreams) {
    const warn = (warning: string): void =>
      logger.warn({ event: EVENTS.warning, upstream: name }, `upstream ${name}: ${warning}`);
    const raw = await openUpstream(name, { ...options, onWarning: warn });
    const edge = await upstreamEdge(name, raw, systemClock, logBreaker(logger, name));
    closers.add(() => edge.upstream.close());
    edges.set(name, edge);
    for (const warning of raw.warnings) warn(warning);
  }
  return edges;
}

type Assembled = Omit<Parts, 'itemStatus'>;

async function assemble(
  config: Config,
  edges: ReadonlyMap<string, UpstreamEdge>,
  warnings: readonly string[],
  { logger, version }: DaemonOptions,
): Promise<{ parts: Assembled; follower: KekFollower; revocations: RevocationsFollower | undefined }> {
  const upstreams = new Map([...edges].map(([name, { raw }]) => [name, raw]));
  const keks = new Keks(new Map([...edges].map(([name, { upstream }]) => [name, upstream])), systemClock);
  const keyrings = new Keyrings(systemClock, logKeyringEvents(logger), config.limits.upstreamCalls);
  const rules = new Map([...config.keys].map(([name, key]) => [name, key.allow]));
  const policy = compilePolicy({ keys: rules, admin: config.admin, profile: config.profile });
  for (const key of config.keys.values()) keyrings.add(keyOptions(key, keks));
  const follower = new KekFollower(keyrings, logger);
  const revocations = await followRevocations(config, keyrings, logger);
  const administration = new DaemonAdministration({
    config,
    version,
    warnings,
    upstreams,
    edges,
    keks,
    keyrings,
    policy,
    follower,
    revocations,
    logger,
  });
  if (config.profile === 'development') {
    await makeMissingKeks(config, upstreams);
    await administration.serveStoredKeys();
  } else {
    await tellMissingKeks(config, upstreams, logger);
  }
  await follower.follow(upstreams);
  return { parts: { keyrings, policy, administration }, follower, revocations };
}

async function followRevocations(
  { revocations: file, keys }: Config,
  keyrings: Keyrings,
  logger: Logger,
): Promise<RevocationsFollower | undefined> {
  if (file === undefined) return undefined;
  const follower = new RevocationsFollower({ file, keys, keyrings, clock: systemClock, logger });
  await follower.start();
  return follower;
}

interface Reserved {
  readonly agent: UnixReservation;
  readonly admin: UnixReservation;
}

async function reserveSockets(config: Config, closers: Closers): Promise<Reserved> {
  const admin = await reserveSocket(config.listen.admin);
  closers.add(() => admin.release());
  const agent = await reserveSocket(config.listen.agent);
  closers.add(() => agent.release());
  return { agent, admin };
}

async function openSockets(
  config: Config,
  reserved: Reserved,
  assembled: Assembled,
  logger: Logger,
  closers: Closers,
): Promise<{ agent: OpenSocket; admin: OpenSocket }> {
  const packageDefinition = loadProtos();
  const parts: Parts = { ...assembled, itemStatus: itemErrors(packageDefinition, logger) };
  const shared = {
    packageDefinition,
    maxMessageBytes: config.limits.messageBytes,
    toStatus: rpcErrors(packageDefinition, logger),
    requestMemory: new RequestMemory(REQUEST_MEMORY_BYTES),
    admits: (principal: Principal) => parts.policy.knows(principal),
    onConnectionRefused: (refused: RefusedConnection) =>
      logger.warn({ event: EVENTS.connectionRefused, ...refused }, 'too many connections: one was closed at once'),
  };
  const open: OpenSocket[] = [];
  closers.add(() => closeSockets(open, config.drainMs));
  const admin = await openSocket(reserved.admin, 'dekd.v1.KeyAdmin', adminHandlers(parts), shared);
  open.push(admin);
  const agent = await openSocket(reserved.agent, 'dekd.v1.KeyAgent', agentHandlers(parts), shared);
  open.push(agent);
  for (const { server } of [agent, admin]) server.setHealth('', true);
  agent.server.setHealth('dekd.v1.KeyAgent', false);
  admin.server.setHealth('dekd.v1.KeyAdmin', true);
  return { agent, admin };
}

/** At the same time: `drainMs` is for both, and a supervisor waits little longer. */
async function closeSockets(sockets: readonly OpenSocket[], drainMs: number): Promise<void> {
  const closed = await Promise.allSettled(sockets.map((socket) => socket.close(drainMs)));
  for (const end of closed) if (end.status === 'rejected') throw end.reason;
}
