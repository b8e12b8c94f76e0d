import { type ChildProcess as Process, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { extname } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { closeKeyChannel, openKeyChannel } from '../../crypto/native.ts';
import { invalidField } from '../../errors.ts';
import type { ChildUpstreamOptions, ProviderFacts } from './child-provider.ts';
import type { HandoverEnds } from './handover.ts';
import { packageDirectories } from './packages.ts';

const DEFAULT_MEMORY_MIB = 256;
/** What libuv gives to a thread of its pool, few pages of which are ever touched: RLIMIT_DATA counts all of it. */
const STACK_MIB = 8;
/** For every provider: where OpenSSL and Node find certificates. */
const COMMON_VARIABLES = ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'SSL_CERT_DIR'];

/** A process and the agent's ends of what connects it. */
export interface SpawnedChild {
  readonly process: Process;
  readonly control: Socket;
  readonly errors: Readable;
  /** Whoever has it closes it. */
  readonly keyFd: number;
}

/**
 * Starts a child on this Node with no standard input or output, none of the agent's environment but what is named, none of its Node switches,
 * and, where Node has a permission model, no right to write files or to start processes. Throws an Error when no process is to be had.
 */
export function spawnChild<Options extends ChildUpstreamOptions>(
  facts: ProviderFacts<Options>,
  options: Options,
  handover: HandoverEnds,
): SpawnedChild {
  const packages = packageDirectories(facts.packages ?? [], facts.beside);
  const memoryMib = options.memoryMib ?? DEFAULT_MEMORY_MIB;
  const switches = [
    '--disable-sigusr1',
    '--disable-warning=ExperimentalWarning',
    '--disable-warning=SecurityWarning',
    `--max-old-space-size=${Math.floor(memoryMib / 2)}`,
    // As the agent's own: a larger young generation pays for nothing here.
    '--max-semi-space-size=4',
    ...permissionSwitches(facts.network ?? true, [...packages, ...facts.readPaths(options)]),
  ];
  const program = fileURLToPath(sibling(import.meta.url, 'main'));
  const threads = facts.threads?.(options);
  const env = {
    ...childEnvironment(facts, options, process.env),
    // libuv reads it when a thread is first needed, which may be before the provider is loaded.
    ...(threads !== undefined && { UV_THREADPOOL_SIZE: String(threads) }),
  };
  const limitMib = memoryMib + (threads ?? 0) * STACK_MIB;
  const keys = openKeyChannel();
  try {
    const child = spawn(process.execPath, [...switches, program, String(limitMib)], {
      argv0: 'dekd-upstream',
      cwd: '/',
      env,
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', keys.child, handover.in, handover.out],
    });
    // Without processes or descriptors left, spawn returns an object that lacks what it could not make, and says why later.
    child.on('error', () => undefined);
    if (child.pid === undefined) throw new Error('out of processes, memory or descriptors');
    return { process: child, control: child.stdio[3] as Socket, errors: child.stderr!, keyFd: keys.parent };
  } catch (error) {
    closeKeyChannel(keys.parent);
    throw error;
  } finally {
    closeKeyChannel(keys.child);
  }
}

/** A module beside another one, in TypeScript or compiled as that is. */
export function sibling(url: string, name: string): URL {
  return new URL(`./${name}${extname(fileURLToPath(url))}`, url);
}

/** Throws DekdError INVALID_REQUEST for a variable that changes what Node runs. */
export function childEnvironment(
  facts: Pick<ProviderFacts, 'environment'>,
  options: Pick<ChildUpstreamOptions, 'environment'>,
  agents: NodeJS.ProcessEnv,
): Record<string, string> {
  const given = options.environment ?? [];
  const refused = given.find((name) => name.startsWith('NODE_') && !COMMON_VARIABLES.includes(name));
  if (refused !== undefined)
    throw invalidField('environment', `${refused} may run others' code; a child does not get it`);
  const names = [...COMMON_VARIABLES, ...facts.environment, ...given];
  return Object.fromEntries(names.flatMap((name) => (agents[name] === undefined ? [] : [[name, agents[name]]])));
}

/**
 * Node 26 keeps a child's JavaScript from files, the network, processes, workers and the inspector; Node 24 has no switch for the network. It is
 * no sandbox for native code.
 */
function permissionSwitches(network: boolean, readPaths: readonly string[]): string[] {
  const isKnown = (name: string): boolean => process.allowedNodeEnvironmentFlags.has(name);
  if (!isKnown('--permission')) return [];
  const reads = readPaths.map((path) => `--allow-fs-read=${path}`);
  return ['--permission', '--allow-addons', ...(network && isKnown('--allow-net') ? ['--allow-net'] : []), ...reads];
}
