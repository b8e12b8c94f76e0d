import { once } from 'node:events';
import { type ClientHttp2Stream, connect, type IncomingHttpHeaders } from 'node:http2';
import { connect as connectSocket } from 'node:net';

/** A gRPC call over bare HTTP/2, whose request is sent piece by piece. */
export interface RawCall {
  write(bytes: Buffer): void;
  end(): void;
  /** Resolves when the server has answered everything. */
  finished(): Promise<{ readonly status: string; readonly message: string; readonly body: Buffer }>;
}

/** Resolves once the server has the call's headers. */
export async function openRawCall(
  socket: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<RawCall> {
  const session = connect('http://localhost', { createConnection: () => connectSocket(socket) });
  // Ends of connections are seen at the stream.
  session.on('error', () => {});
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  const finished = collect(stream);
  finished.then(
    () => session.close(),
    () => session.destroy(),
  );
  await once(session, 'connect');
  // The answer to a ping comes after everything that was sent before it has been read.
  await new Promise<void>((resolve, reject) => session.ping((error) => (error === null ? resolve() : reject(error))));
  return { write: (bytes) => void stream.write(bytes), end: () => void stream.end(), finished: () => finished };
}

/** A message in a gRPC frame: not compressed, length, bytes. */
export function grpcFrame(message: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

async function collect(stream: ClientHttp2Stream): Promise<{ status: string; message: string; body: Buffer }> {
  const chunks: Buffer[] = [];
  let trailers: IncomingHttpHeaders = {};
  const take = (headers: IncomingHttpHeaders): void => {
    if (headers['grpc-status'] !== undefined) trailers = headers;
  };
  // A call that fails at once has its status in the headers.
  stream.on('response', take).on('trailers', take);
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  // An answer before the request's end: nothing more is to be said.
  stream.on('end', () => stream.end());
  await once(stream, 'close');
  const message = decodeURIComponent(String(trailers['grpc-message'] ?? ''));
  return { status: String(trailers['grpc-status']), message, body: Buffer.concat(chunks) };
}
