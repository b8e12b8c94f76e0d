import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closeKeyChannel, openKeyChannel } from '../../../src/crypto/native.ts';

/** What a thread's calls need of the system: a file to read keys from, a lock, a connected socket, a channel for keys. */
export class Place {
  readonly #folder: string;
  readonly #keyFile: string;
  readonly #server: Server;
  readonly #socket: Socket;
  readonly lockFd: number;
  readonly folderFd: number;
  readonly socketFd: number;
  readonly channel = openKeyChannel();
  /** For closing. */
  spareChannel = openKeyChannel();

  private constructor(folder: string, server: Server, socket: Socket) {
    this.#folder = folder;
    this.#keyFile = join(folder, 'key');
    this.#server = server;
    this.#socket = socket;
    this.lockFd = openSync(join(folder, 'lock'), 'w');
    this.folderFd = openSync(folder, 'r');
    this.socketFd = (socket as unknown as { _handle: { fd: number } })._handle.fd;
  }

  static async make(): Promise<Place> {
    const folder = mkdtempSync(join(tmpdir(), 'dekd-fuzz-'));
    const path = join(folder, 'socket');
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const socket = connect(path);
    await new Promise<void>((resolve) => socket.once('connect', resolve));
    return new Place(folder, server, socket);
  }

  /** A descriptor from which `bytes` can be read. */
  withFile<T>(bytes: Uint8Array, use: (fd: number) => T): T {
    writeFileSync(this.#keyFile, bytes);
    const fd = openSync(this.#keyFile, 'r');
    try {
      return use(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** Takes away what waits at the parent's end. */
  readonly emptyChannel = (): void => {
    try {
      for (const packet = Buffer.alloc(1); ; ) readSync(this.channel.parent, packet);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  };

  /** After its parent's end was closed. */
  renewSpareChannel(): void {
    closeKeyChannel(this.spareChannel.child);
    this.spareChannel = openKeyChannel();
  }

  close(): void {
    closeKeyChannel(this.spareChannel.parent);
    closeKeyChannel(this.spareChannel.child);
    closeKeyChannel(this.channel.parent);
    closeKeyChannel(this.channel.child);
    this.#socket.destroy();
    this.#server.close();
    closeSync(this.lockFd);
    closeSync(this.folderFd);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
