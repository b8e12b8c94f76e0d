import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Counterpart, freePort, installation, startCounterpart } from '../counterpart.ts';

const UNSEALED_MS = 20_000;

/** A server on a disk, on a port of 127.0.0.1: what it holds outlives its process. */
export interface DurableOpenBao {
  readonly address: string;
  /** Of the process that runs now. */
  readonly pid: () => number;
  /** What an administrator does: path below /v1/, with the root token. Throws what it answers when it is no success. */
  // biome-ignore lint/suspicious/noExplicitAny: a test knows what it asked for
  readonly call: (method: string, path: string, body?: object) => Promise<any>;
  readonly kill: () => Promise<void>;
  /** After a kill: the same store behind the same port, unsealed. */
  readonly restart: () => Promise<void>;
  /** Ends it, and removes its store. */
  readonly stop: () => Promise<void>;
}

export async function startDurableOpenBao(): Promise<DurableOpenBao> {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-openbao-'));
  const address = `http://127.0.0.1:${await freePort('127.0.0.1')}`;
  const config = join(directory, 'config.hcl');
  mkdirSync(join(directory, 'store'));
  writeFileSync(config, configuration(directory, address, await freePort('127.0.0.1')));
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  let server = await startServer(config, directory, address);
  try {
    const made = await exchange(address, '', 'PUT', 'sys/init', { secret_shares: 1, secret_threshold: 1 });
    const { keys_base64: keys, root_token: token } = made as { keys_base64: string[]; root_token: string };
    const unseal = async (): Promise<void> => {
      await exchange(address, '', 'PUT', 'sys/unseal', { key: keys[0] });
      await active(address);
    };
    await unseal();
    return {
      address,
      pid: () => server.pid,
      call: (method, path, body) => exchange(address, token, method, path, body),
      kill: () => server.stop(),
      restart: async () => {
        server = await startServer(config, directory, address);
        await unseal();
      },
      stop: async () => {
        await server.stop();
        remove();
      },
    };
  } catch (error) {
    await server.stop();
    remove();
    throw error;
  }
}

/** Raft is OpenBao's own storage; alone and with its shortest times, a node is its leader after some tenths of a second. */
function configuration(directory: string, address: string, clusterPort: number): string {
  const cluster = `127.0.0.1:${clusterPort}`;
  return `
api_addr = "${address}"
cluster_addr = "http://${cluster}"
storage "raft" {
  path = "${join(directory, 'store')}"
  node_id = "n1"
  performance_multiplier = 1
}
listener "tcp" {
  address = "${new URL(address).host}"
  cluster_address = "${cluster}"
  tls_disable = true
}
`;
}

function startServer(config: string, directory: string, address: string): Promise<Counterpart> {
  return startCounterpart({
    command: join(installation('openbao') ?? '', 'bin', 'bao'),
    args: ['server', `-config=${config}`],
    environment: { PATH: '/usr/bin:/bin', HOME: directory },
    // Any answer will do: it is sealed.
    ready: async () => (await fetch(`${address}/v1/sys/health`)).status > 0,
  });
}

async function active(address: string): Promise<void> {
  for (const until = performance.now() + UNSEALED_MS; performance.now() < until; await sleep(50)) {
    if ((await fetch(`${address}/v1/sys/health`)).status === 200) return;
  }
  throw new Error('OpenBao has no leader');
}

async function exchange(address: string, token: string, method: string, path: string, body?: object): Promise<unknown> {
  const answer = await fetch(`${address}/v1/${path}`, {
    method,
    headers: { 'x-vault-token': token },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`OpenBao: ${method} ${path}: HTTP ${answer.status} ${text}`);
  return text === '' ? undefined : JSON.parse(text);
}
