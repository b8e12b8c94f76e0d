import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { Teardown } from './place.ts';

/** A TCP proxy of the test's own process, on a port of 127.0.0.1. */
export interface TcpProxy {
  readonly port: number;
  /** Everything that its clients sent, as latin1. */
  sent(): string;
}

/** Hands on what clients send `delayMs` later; closed with the test. */
export async function startTcpProxy(t: Teardown, target: URL, delayMs: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  const chunks: Buffer[] = [];
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname.replace(/^\[|\]$/g, ''));
    client.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      setTimeout(() => upstream.write(chunk), delayMs);
    });
    upstream.pipe(client);
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(one);
      one.on('error', () => one.destroy());
      one.on('close', () => {
        sockets.delete(one);
        setTimeout(() => other.destroy(), delayMs);
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, sent: () => Buffer.concat(chunks).toString('latin1') };
}
