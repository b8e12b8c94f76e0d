import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { EXIT } from './exit-codes.ts';
import type { GlobalFlags } from './flags.ts';
import { CliError } from './messages.ts';

/** Which of the agent's two sockets a command speaks to. */
export type SocketKind = 'agent' | 'admin';

/** Longest path that fits into the kernel's sun_path (unix(7): 108 bytes with the closing zero). */
const MAX_PATH_BYTES = 107;

const FLAGS = { agent: '--socket', admin: '--admin-socket' } as const;
const VARIABLES = { agent: 'DEKD_SOCKET', admin: 'DEKD_ADMIN_SOCKET' } as const;

/** Flag, else environment, else ./.dekd (a development agent), else /run/dekd. */
export function socketPath(kind: SocketKind, flags: GlobalFlags, environment = process.env): string {
  const named = (kind === 'agent' ? flags.socket : flags.adminSocket) ?? environment[VARIABLES[kind]];
  const path = named || defaultPath(kind);
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_PATH_BYTES) {
    const text = `the socket's path has ${bytes} bytes, a Unix socket's at most ${MAX_PATH_BYTES}; use a shorter one, relative if need be`;
    throw new CliError(EXIT.usage, text);
  }
  return path;
}

/** Throws when nobody listens on `path`, with the way out; gRPC itself only says "unavailable". */
export async function checkListening(kind: SocketKind, path: string): Promise<void> {
  const code = await connectCode(path);
  if (code === undefined) return;
  if (code === 'EACCES' || code === 'EPERM') {
    const text = `${path} may not be opened by uid ${process.getuid?.()}; ask for its group (listen.${kind}.group in dekd's configuration), or run as another user`;
    throw new CliError(EXIT.noAgent, text);
  }
  const text = `no agent listens on ${path}; start one with \`npm start\` or \`dekd --config FILE\`, or name its socket with ${FLAGS[kind]}`;
  throw new CliError(EXIT.noAgent, text);
}

function defaultPath(kind: SocketKind): string {
  const development = `./.dekd/${kind}.sock`;
  return existsSync(development) ? development : `/run/dekd/${kind}.sock`;
}

function connectCode(path: string): Promise<string | undefined> {
  return new Promise((done) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      done(undefined);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => done(error.code ?? 'EUNKNOWN'));
  });
}
