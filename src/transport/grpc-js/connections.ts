import type { Socket } from 'node:net';
import type { Principal } from '../principal.ts';

/**
 * The open connections and who is at their other end. grpc-js tells a call nothing of its socket but `remoteAddress`, which a
 * Unix socket leaves empty: it carries the connection's id here.
 */
export class Connections {
  readonly #peerCredentials: (fd: number) => Principal;
  readonly #principals = new Map<string, Principal>();
  readonly #sockets = new Set<Socket>();
  #lastId = 0;

  constructor(peerCredentials: (fd: number) => Principal) {
    this.#peerCredentials = peerCredentials;
  }

  /** Asks the kernel who is calling and names the connection. False, with the socket destroyed, when the kernel does not tell. */
  admit(socket: Socket): boolean {
    // A peer that goes away is no news, and an unheard 'error' event would end the process.
    socket.on('error', () => {});
    const principal = this.#principal(socket);
    if (principal === undefined) {
      socket.destroy();
      return false;
    }
    const id = `connection-${++this.#lastId}`;
    // The getters of net.Socket ask the handle each time, and grpc-js reads all four for every call.
    Object.defineProperties(socket, {
      remoteAddress: { value: id },
      remotePort: { value: undefined },
      localAddress: { value: undefined },
      localPort: { value: undefined },
    });
    this.#principals.set(id, principal);
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#principals.delete(id);
      this.#sockets.delete(socket);
    });
    return true;
  }

  /** Undefined once the connection is closed. */
  principal(id: string | undefined): Principal | undefined {
    return id === undefined ? undefined : this.#principals.get(id);
  }

  /** Ends when the last connection has closed. */
  async closed(): Promise<void> {
    await Promise.all([...this.#sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #principal(socket: Socket): Principal | undefined {
    // node:net has no public way to a socket's descriptor.
    const handle = (socket as Socket & { _handle?: { fd: number } | null })._handle;
    if (handle === undefined || handle === null || handle.fd < 0) return undefined;
    try {
      return this.#peerCredentials(handle.fd);
    } catch {
      return undefined;
    }
  }
}
