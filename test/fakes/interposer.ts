import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Teardown } from '../helpers/place.ts';

/** What a client asked for, its body complete. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

export interface Interposed {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

export interface Certificate {
  readonly key: string;
  readonly cert: string;
}

export interface InterposerOptions {
  /** `http://HOST:PORT` of the real service. */
  readonly target: string;
  /** Given once, the client's side is TLS. */
  readonly certificate?: Certificate;
  /** Answers in place of the real service; undefined passes the request on. */
  readonly answer?: (asked: Asked) => Interposed | undefined;
}

/** A proxy on loopback in front of a real HTTP service, which sees every request that is not answered here. Gone when the test ends. */
export interface Interposer {
  readonly port: number;
  /** From now on; undefined passes everything on. */
  answer: InterposerOptions['answer'];
  /** From the next connection on. */
  present(certificate: Certificate): void;
  /** Clients must connect anew. */
  disconnect(): void;
}

export async function startInterposer(t: Teardown, options: InterposerOptions): Promise<Interposer> {
  const { target, certificate } = options;
  let { answer } = options;
  const serve = (asked: IncomingMessage, response: ServerResponse): void => {
    void exchange(target, asked, response, (complete) => answer?.(complete)).catch(() => response.destroy());
  };
  const tls = certificate === undefined ? undefined : createTlsServer({ ...certificate }, serve);
  const server = tls ?? createServer(serve);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  });
  return {
    port: (server.address() as AddressInfo).port,
    get answer() {
      return answer;
    },
    set answer(next) {
      answer = next;
    },
    present: (next) => tls?.setSecureContext({ ...next }),
    disconnect: () => server.closeAllConnections(),
  };
}

async function exchange(
  target: string,
  asked: IncomingMessage,
  response: ServerResponse,
  answerOf: (asked: Asked) => Interposed | undefined,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of asked) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const { method = '', url: path = '', headers } = asked;
  const own = answerOf({ method, path, headers, body: body.toString() });
  if (own !== undefined) {
    response.writeHead(own.status, { 'content-type': own.type }).end(own.body);
    return;
  }
  const sent = request(new URL(path, target), { method, headers, agent: false });
  sent.end(body);
  const [real] = (await once(sent, 'response')) as [IncomingMessage];
  response.writeHead(real.statusCode ?? 502, real.headers);
  real.pipe(response);
}
