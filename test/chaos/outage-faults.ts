import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { childPids } from '../helpers/child-pids.ts';
import type { OutageWorld, UpstreamName } from './outage-world.ts';

/** What happens to all upstreams at once. */
export interface Fault {
  readonly name: string;
  /** Upstreams where some calls may succeed meanwhile. */
  readonly partial: readonly UpstreamName[];
  /** Upstreams that do not come back. */
  readonly lost: readonly UpstreamName[];
  /** Begins it; what it resolves to ends it. */
  begin(world: OutageWorld, scene: Scene): Promise<() => Promise<void>>;
}

export interface Scene {
  /** Of the agent. */
  readonly agentPid: number;
  /** How long the fault will last, in milliseconds. */
  readonly windowMs: number;
}

const FLAP_MS = 700;
const SLOW_MS = 2_000;
/** A new child needs longer to open. */
const WATCH_MS = 20;
/** Each kill doubles the agent's pause before the next child. */
const KILL_MS = 2_500;
const CKR_DEVICE_REMOVED = 0x32;
const CKR_SESSION_COUNT = 0xb1;

/** In the order in which they come: after a kill LocalStack and moto have no keys any more, and what has no key refuses. */
export const FAULTS: readonly Fault[] = [
  // A new child may answer before it is found and stopped.
  { name: 'stopped', partial: ['hsm'], lost: [], begin: stop },
  { name: 'slow', partial: [], lost: [], begin: slow },
  { name: 'reset', partial: [], lost: [], begin: reset },
  { name: 'flapping', partial: ['vault', 'localstack', 'moto', 'hsm'], lost: [], begin: flap },
  // What a quota lets through before it is exceeded.
  { name: 'throttled', partial: ['vault'], lost: [], begin: throttle },
  { name: 'killed', partial: [], lost: ['localstack', 'moto'], begin: kill },
];

async function stop({ vault, localstack, moto, hsm }: OutageWorld, { agentPid }: Scene): Promise<() => Promise<void>> {
  const servers = [vault.bao.pid(), localstack.counterpart.pid, moto.counterpart.pid];
  for (const pid of servers) process.kill(pid, 'SIGSTOP');
  // A child that hangs is killed by the agent, and its successor must be stopped too.
  const end = repeat(WATCH_MS, () => signalHsmChildren(agentPid, hsm.softHsm.directory, 'SIGSTOP'));
  return async () => {
    await end();
    for (const pid of servers) process.kill(pid, 'SIGCONT');
    signalHsmChildren(agentPid, hsm.softHsm.directory, 'SIGCONT');
  };
}

async function slow({ vault, localstack, moto, hsm }: OutageWorld): Promise<() => Promise<void>> {
  const proxies = [vault.proxy, localstack.proxy, moto.proxy];
  await Promise.all(proxies.map((proxy) => proxy.delay(SLOW_MS)));
  hsm.softHsm.control('C_EncryptInit slow', 'C_DecryptInit slow', 'C_FindObjectsInit slow');
  return async () => {
    hsm.softHsm.control();
    await Promise.all(proxies.map((proxy) => proxy.mend()));
  };
}

async function reset({ vault, localstack, moto, hsm }: OutageWorld): Promise<() => Promise<void>> {
  const proxies = [vault.proxy, localstack.proxy, moto.proxy];
  await Promise.all(proxies.map((proxy) => proxy.reset()));
  const lost = ['C_OpenSession', 'C_EncryptInit', 'C_DecryptInit', 'C_FindObjectsInit'];
  hsm.softHsm.control(...lost.map((name) => `${name} ${CKR_DEVICE_REMOVED}`));
  return async () => {
    hsm.softHsm.control();
    await Promise.all(proxies.map((proxy) => proxy.mend()));
  };
}

async function flap({ vault, localstack, moto, hsm }: OutageWorld): Promise<() => Promise<void>> {
  const proxies = [vault.proxy, localstack.proxy, moto.proxy];
  const away = join(hsm.softHsm.directory, 'away');
  let isUp = true;
  const turn = async (): Promise<void> => {
    isUp = !isUp;
    renameSync(...((isUp ? [away, hsm.tokenDirectory] : [hsm.tokenDirectory, away]) as [string, string]));
    await Promise.all(proxies.map((proxy) => (isUp ? proxy.mend() : proxy.cut())));
  };
  await turn();
  const end = repeat(FLAP_MS, turn);
  return async () => {
    await end();
    if (!isUp) await turn();
  };
}

async function throttle(world: OutageWorld, { windowMs }: Scene): Promise<() => Promise<void>> {
  const { vault, localstack, moto, hsm, throttlingAws } = world;
  // The first excess blocks the agent for the rest of the window.
  const quota = { rate: 1, interval: '1s', block_interval: `${Math.ceil(windowMs / 1000)}s`, path: 'transit/' };
  await Promise.all([
    vault.bao.call('POST', 'sys/quotas/rate-limit/drought', quota),
    localstack.proxy.divert(throttlingAws),
    moto.proxy.divert(throttlingAws),
  ]);
  const full = ['C_OpenSession', 'C_EncryptInit', 'C_DecryptInit'];
  hsm.softHsm.control(...full.map((name) => `${name} ${CKR_SESSION_COUNT}`));
  return async () => {
    hsm.softHsm.control();
    await Promise.all([
      vault.bao.call('DELETE', 'sys/quotas/rate-limit/drought'),
      localstack.proxy.mend(),
      moto.proxy.mend(),
    ]);
  };
}

async function kill({ vault, localstack, moto, hsm }: OutageWorld, { agentPid }: Scene): Promise<() => Promise<void>> {
  await Promise.all([vault.bao.kill(), localstack.counterpart.stop(), moto.counterpart.stop()]);
  // There is no server to kill: the token's files are gone, and the process that looks for them is killed over and over.
  const away = join(hsm.softHsm.directory, 'away');
  renameSync(hsm.tokenDirectory, away);
  const end = repeat(KILL_MS, () => signalHsmChildren(agentPid, hsm.softHsm.directory, 'SIGKILL'));
  return async () => {
    await end();
    renameSync(away, hsm.tokenDirectory);
    await vault.bao.restart();
  };
}

/** Each time after so long a pause; ended by what it returns, which throws what the action threw. */
function repeat(pauseMs: number, action: () => void | Promise<void>): () => Promise<void> {
  const control = new AbortController();
  const running = (async () => {
    while (!control.signal.aborted) {
      await sleep(pauseMs, undefined, { signal: control.signal }).catch(() => undefined);
      if (!control.signal.aborted) await action();
    }
  })();
  running.catch(() => undefined);
  return async () => {
    control.abort();
    await running;
  };
}

/** The agent's children that may read the HSM's files: their command lines say so (spawn.ts). */
function signalHsmChildren(agentPid: number, directory: string, signal: NodeJS.Signals): void {
  for (const pid of childPids(agentPid)) {
    try {
      if (readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(directory)) process.kill(pid, signal);
    } catch {
      // It ended meanwhile.
    }
  }
}
