import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ExecutionContext } from 'ava';

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly token: string | undefined;
  readonly body: string;
}

export interface FakeVault {
  readonly address: string;
  /** Requests in their order. */
  readonly seen: Seen[];
  /** Connections that were ever made. */
  connections(): number;
  close(): Promise<void>;
}

/** What no real server can be made to answer. `answer` gets each request when its body is complete. */
export async function startFakeVault(
  t: ExecutionContext,
  answer: (seen: Seen, response: ServerResponse, count: number) => void,
): Promise<FakeVault> {
  const seen: Seen[] = [];
  let connections = 0;
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const token = request.headers['x-vault-token'] as string | undefined;
    const one = { method: request.method ?? '', path: request.url ?? '', token, body };
    seen.push(one);
    answer(one, response, seen.length);
  };
  const server = createServer((request, response) => void serve(request, response));
  server.on('connection', () => connections++);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = async (): Promise<void> => {
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  };
  t.teardown(close);
  const { port } = server.address() as AddressInfo;
  return { address: `http://127.0.0.1:${port}`, seen, connections: () => connections, close };
}

export function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

/** As Vault answers encrypt. */
export const ENCRYPTED = { data: { ciphertext: `vault:v1:${'A'.repeat(80)}`, key_version: 1 } };
/** As Vault answers decrypt, with the bytes 0 to 31. */
export const DECRYPTED = {
  data: { plaintext: Buffer.from(Array.from({ length: 32 }, (_, index) => index)).toString('base64') },
};
export const DENIED = { errors: ['1 error occurred:\n\t* permission denied\n\n'] };
export const ALIVE = { data: { ttl: 3600, renewable: true } };
