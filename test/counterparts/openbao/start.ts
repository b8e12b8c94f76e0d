import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request as plainRequest, type RequestOptions } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { installation, missing } from '../counterpart.ts';

const READY_MS = 20_000;
const ROOT_TOKEN = 'root';
const AUDIT_LOG = 'audit.log';

const installed = installation('openbao');

export const hasOpenBao = installed !== undefined;

/** Whether a test that needs OpenBao can run; says so loudly where it cannot, and fails in CI. */
export function requireOpenBao(t: ExecutionContext): boolean {
  if (!hasOpenBao) missing(t, 'openbao');
  return hasOpenBao;
}

export interface Reply {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: a test knows what it asked for
  readonly json: any;
}

/** A server in development mode: unsealed, everything in memory, a TCP listener on loopback and one on a Unix socket. */
export interface OpenBao {
  readonly address: string;
  readonly unixAddress: string;
  /** With the certificate authority of `address`; undefined without TLS. */
  readonly caFile: string | undefined;
  readonly directory: string;
  readonly rootToken: string;
  readonly pid: number;
  /** What an administrator does: path below /v1/, with the root token unless another is given. */
  call(method: string, path: string, body?: object, token?: string): Promise<Reply>;
  kill(signal: NodeJS.Signals): void;
  /** Paths of the requests that its audit log has, in their order; it has one with `audit`. */
  audited(): string[];
  stop(): Promise<void>;
}

export async function startOpenBao({ tls = false, audit = false } = {}): Promise<OpenBao> {
  for (let tries = 0; ; tries++) {
    const directory = mkdtempSync(join(tmpdir(), 'dekd-openbao-'));
    // It takes the port above for its cluster too.
    const port = 20_000 + 2 * Math.floor(Math.random() * 6_000);
    const child = spawnServer(directory, port, { tls, audit });
    const server = describeServer(child, directory, port, tls);
    try {
      await ready(child, server);
      return server;
    } catch (error) {
      await server.stop();
      if (tries === 3) throw error;
    }
  }
}

function spawnServer(directory: string, port: number, { tls, audit }: { tls: boolean; audit: boolean }): ChildProcess {
  const config = join(directory, 'config.hcl');
  const socket = join(directory, 'bao.sock');
  const listener = `listener "unix" {\n  address = "${socket}"\n  socket_mode = "0600"\n  tls_disable = true\n}\n`;
  const device = `audit "file" "file" {\n  options {\n    file_path = "${join(directory, AUDIT_LOG)}"\n  }\n}\n`;
  writeFileSync(config, audit ? listener + device : listener);
  const flags = [
    '-dev',
    `-dev-root-token-id=${ROOT_TOKEN}`,
    `-dev-listen-address=127.0.0.1:${port}`,
    '-dev-no-store-token',
    ...(tls ? ['-dev-tls', `-dev-tls-cert-dir=${directory}`] : []),
    `-config=${config}`,
  ];
  // It ends with the thread that started it, however that ends.
  const args = ['--pdeathsig', 'KILL', join(installed ?? '', 'bin', 'bao'), 'server', ...flags];
  return spawn('setpriv', args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, HOME: directory } });
}

function describeServer(child: ChildProcess, directory: string, port: number, tls: boolean): OpenBao {
  const exited = once(child, 'exit');
  const caFile = tls ? join(directory, 'vault-ca.pem') : undefined;
  const unixAddress = `unix:${join(directory, 'bao.sock')}`;
  const call = async (method: string, path: string, body?: object, token = ROOT_TOKEN): Promise<Reply> => {
    const target: RequestOptions = {
      host: '127.0.0.1',
      port,
      path: `/v1/${path}`,
      method,
      headers: { 'x-vault-token': token },
    };
    return exchange({ ...target, ...(caFile === undefined ? {} : { ca: readFileSync(caFile) }) }, tls, body);
  };
  return {
    address: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    unixAddress,
    caFile,
    directory,
    rootToken: ROOT_TOKEN,
    pid: child.pid as number,
    call,
    kill: (signal) => void child.kill(signal),
    audited: () =>
      readFileSync(join(directory, AUDIT_LOG), 'utf8')
        .split('\n')
        .filter((line) => line.endsWith('}'))
        .map((line) => JSON.parse(line))
        .filter(({ type }) => type === 'request')
        .map(({ request }) => request.path),
    stop: async () => {
      child.kill('SIGKILL');
      await exited;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function ready(child: ChildProcess, server: OpenBao): Promise<void> {
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (output += chunk));
  for (const until = performance.now() + READY_MS; performance.now() < until; await sleep(25)) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`OpenBao ended\n${output}`);
    const health = await server.call('GET', 'sys/health').catch(() => undefined);
    if (health?.status === 200 && output.includes('Root Token:')) return;
  }
  throw new Error(`OpenBao is not ready\n${output}`);
}

async function exchange(options: RequestOptions, tls: boolean, body: object | undefined): Promise<Reply> {
  const sent = (tls ? tlsRequest : plainRequest)({ ...options, agent: false });
  sent.end(body === undefined ? undefined : JSON.stringify(body));
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode ?? 0, json: text === '' ? undefined : JSON.parse(text) };
}
