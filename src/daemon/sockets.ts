import type { PackageDefinition, ServiceDefinition } from '@grpc/proto-loader';
import { MAXIMA } from '../api/batch.ts';
import type { SocketConfig } from '../config/config.ts';
import { lockFile, peerCredentials } from '../crypto/native.ts';
import { createServer } from '../transport/grpc-js/server.ts';
import { reserveUnixListener, type UnixReservation } from '../transport/listener.ts';
import type { Handler, ServerOptions, TransportServer } from '../transport/transport.ts';

/** One of the two sockets: a listener and the server behind it. */
export interface OpenSocket {
  readonly server: TransportServer;
  /** Takes no new connection, lets running calls end, removes the socket. */
  close(drainMs: number): Promise<void>;
}

/** Takes a socket's path before anything else is opened, so that a second agent hears of the first and not of its keystore. */
export function reserveSocket(config: SocketConfig): Promise<UnixReservation> {
  return reserveUnixListener({ path: config.path, mode: config.mode, gid: config.gid, lockFile });
}

export async function openSocket(
  reservation: UnixReservation,
  service: string,
  handlers: Readonly<Record<string, Handler>>,
  options: Omit<ServerOptions, 'maxima' | 'services' | 'peerCredentials'>,
): Promise<OpenSocket> {
  const definition = serviceDefinition(options.packageDefinition, service);
  const server = createServer({ ...options, maxima: MAXIMA, services: [{ definition, handlers }], peerCredentials });
  const listener = await reservation.listen();
  server.attach(listener.server);
  return {
    server,
    async close(drainMs) {
      await server.drain(drainMs);
      await listener.close();
    },
  };
}

function serviceDefinition(protos: PackageDefinition, name: string): ServiceDefinition {
  return protos[name] as ServiceDefinition;
}
