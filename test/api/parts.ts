import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ServiceDefinition } from '@grpc/proto-loader';
import type { ExecutionContext } from 'ava';
import type { Call, Principal } from '../../src/api/call.ts';
import { adminHandlers, agentHandlers } from '../../src/api/handlers.ts';
import type { Parts } from '../../src/api/parts.ts';
import { parseConfig } from '../../src/config/load.ts';
import { openArena } from '../../src/crypto/native.ts';
import { DaemonAdministration } from '../../src/daemon/administration.ts';
import { KekFollower } from '../../src/daemon/kek-follower.ts';
import { Keks, keyOptions } from '../../src/daemon/key-options.ts';
import { logKeyringEvents } from '../../src/daemon/log-events.ts';
import { itemErrors } from '../../src/daemon/rpc-errors.ts';
import { localEdge } from '../../src/daemon/upstream-edges.ts';
import { DekdError } from '../../src/errors.ts';
import { systemClock } from '../../src/keyring/clock.ts';
import { Keyrings } from '../../src/keyring/keyrings.ts';
import { compilePolicy } from '../../src/policy/authorize.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { loadProtos } from '../../src/transport/protos.ts';
import { hasLifecycle, type Upstream } from '../../src/upstream/provider.ts';
import { openUpstream } from '../../src/upstream/registry.ts';

/** Callers of the fixture's rules. */
export const USER = 1000;
export const OPERATOR = 2000;
export const CUSTODIAN = 2001;
export const AUDITOR = 2002;
export const SECOND_CUSTODIAN = 2003;
export const STRANGER = 3000;

const PROTOS = loadProtos();

export interface StubCall extends Call {
  /** What the handler asked to have zeroed. */
  readonly toWipe: Uint8Array[];
}

export function makeCall(uid: number = USER, signal = new AbortController().signal): StubCall {
  const principal: Principal = { uid, gid: uid, groups: [] };
  const toWipe: Uint8Array[] = [];
  return { principal, requestId: 'request-1', signal, toWipe, wipeLater: (bytes) => void toWipe.push(bytes) };
}

// biome-ignore lint/suspicious/noExplicitAny: a test knows what it asked for
type Message = any;

/** The handlers without a socket, over a real keystore. */
export interface Api extends Parts {
  /** A request goes through its protobuf form, as it would over the wire. */
  call(rpc: string, request: object, call?: Call): Promise<Message>;
  failure(rpc: string, request: object, call?: Call): Promise<DekdError>;
  /** What proto-loader makes of these bytes goes to the handler. */
  callRaw(rpc: string, bytes: Buffer, call?: Call): Promise<Message>;
}

/**
 * Keys `orders` and `carts`, `tenants` (partitioned by tenant) and `hidden` (nobody of the fixture may use it), all with a KEK in `store`.
 * `spares`: names of more upstreams like it.
 */
export async function makeApi(
  t: ExecutionContext,
  profile: 'production' | 'development' = 'production',
  moreKeys: object = {},
  storeSettings: object = {},
  spares: readonly string[] = [],
): Promise<Api> {
  openArena({ size: 1 << 20, lock: 'best-effort' });
  const directory = mkdtempSync(join(tmpdir(), 'dekd-api-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  writeFileSync(join(directory, 'root.key'), randomBytes(32), { mode: 0o600 });
  const written = configuration(directory, profile, moreKeys, storeSettings, spares);
  const config = parseConfig(JSON.stringify(written), 'test.yaml');
  const upstreams = new Map<string, Upstream>();
  for (const [name, options] of config.upstreams) upstreams.set(name, await openUpstream(name, options));
  const logger = createLogger('silent');
  const edges = new Map([...upstreams].map(([name, raw]) => [name, localEdge(raw, systemClock)]));
  const keks = new Keks(new Map([...edges].map(([name, { upstream }]) => [name, upstream])), systemClock);
  const keyrings = new Keyrings(systemClock, logKeyringEvents(logger), config.limits.upstreamCalls);
  for (const [name, key] of config.keys) {
    const store = upstreams.get('store');
    if (store !== undefined && hasLifecycle(store)) await store.createKek(name, new Map(), 'uid 2001');
    keyrings.add(keyOptions(key, keks));
  }
  const rules = new Map([...config.keys].map(([name, key]) => [name, key.allow]));
  const policy = compilePolicy({ keys: rules, admin: config.admin, profile, ownUid: 4000 });
  const warnings = ['a warning'];
  const follower = new KekFollower(keyrings, logger);
  const administration = new DaemonAdministration({
    config,
    version: '1.2.3',
    warnings,
    upstreams,
    edges,
    keks,
    keyrings,
    policy,
    follower,
    logger,
  });
  await follower.follow(upstreams);
  t.teardown(async () => {
    follower.stop();
    keyrings.close();
    for (const upstream of upstreams.values()) await upstream.close();
  });
  const parts: Parts = { keyrings, policy, administration, itemStatus: itemErrors(PROTOS, logger) };
  return { ...parts, ...callers(parts) };
}

function callers(parts: Parts): Pick<Api, 'call' | 'failure' | 'callRaw'> {
  // DescribeKey is an RPC of both services: `KeyAdmin/DescribeKey` is that of the administration.
  const handlers = { ...prefixed(adminHandlers(parts)), ...adminHandlers(parts), ...agentHandlers(parts) };
  const admin = definition('dekd.v1.KeyAdmin');
  const definitions: ServiceDefinition = { ...prefixed(admin), ...admin, ...definition('dekd.v1.KeyAgent') };
  const run = async (
    rpc: string,
    decode: (method: ServiceDefinition[string]) => object,
    call: Call,
  ): Promise<Message> => {
    const method = definitions[rpc];
    const handler = handlers[rpc];
    if (method === undefined || handler === undefined) throw new Error(`no ${rpc}`);
    const response = await handler(decode(method), call);
    // What the handler returns must be what the message can carry.
    return method.responseDeserialize(method.responseSerialize(response as object));
  };
  const call: Api['call'] = (rpc, request, stub = makeCall()) =>
    run(rpc, (method) => method.requestDeserialize(method.requestSerialize(request)), stub);
  return {
    call,
    callRaw: (rpc, bytes, stub = makeCall()) => run(rpc, (method) => method.requestDeserialize(bytes), stub),
    failure: async (rpc, request, stub) => {
      try {
        await call(rpc, request, stub);
      } catch (thrown) {
        if (thrown instanceof DekdError) return thrown;
        throw thrown;
      }
      throw new Error(`${rpc} succeeded`);
    },
  };
}

function prefixed<T>(byName: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(byName).map(([name, value]) => [`KeyAdmin/${name}`, value]));
}

function definition(service: string): ServiceDefinition {
  return PROTOS[service] as ServiceDefinition;
}

function configuration(
  directory: string,
  profile: string,
  moreKeys: object,
  storeSettings: object,
  spares: readonly string[],
): object {
  const store = (name: string) => ({
    type: 'local',
    directory: join(directory, name),
    root_key: { file: join(directory, 'root.key') },
    durable: true,
  });
  const recipients = (name: string) => [{ upstream: 'store', kek: `local:${name}`, role: 'authority' }];
  const allow = [
    { uid: USER, roles: ['user'] },
    { uid: OPERATOR, roles: ['operator'] },
    { uid: CUSTODIAN, roles: ['custodian'] },
    { uid: AUDITOR, roles: ['auditor'] },
    { uid: SECOND_CUSTODIAN, roles: ['custodian'] },
  ];
  return {
    profile,
    listen: { agent: { path: join(directory, 'a.sock') }, admin: { path: join(directory, 'b.sock') } },
    upstreams: {
      store: { ...store('keystore'), ...storeSettings },
      ...Object.fromEntries(spares.map((name) => [name, store(name)])),
    },
    keys: {
      orders: { recipients: recipients('orders'), allow },
      carts: { recipients: recipients('carts'), allow },
      tenants: { recipients: recipients('tenants'), allow, partition_by: ['tenant'] },
      hidden: { recipients: recipients('hidden'), allow: [{ uid: 5000, roles: ['user'] }] },
      ...moreKeys,
    },
    admin: [
      { uid: CUSTODIAN, roles: ['custodian'] },
      { uid: OPERATOR, roles: ['operator'] },
    ],
  };
}
