import {
  type ClientRequest,
  type IncomingMessage,
  Agent as PlainAgent,
  request as plainRequest,
  type RequestOptions,
} from 'node:http';
import { type AgentOptions, Agent as TlsAgent, request as tlsRequest } from 'node:https';
import { secretBuffer } from '../../crypto/secret-buffer.ts';
import { UpstreamFailure } from '../failure.ts';

/** Idle connections go before a load balancer or a NAT forgets them silently. */
const IDLE_MS = 30_000;
const MAX_CONNECTIONS = 64;
const MAX_RETRY_AFTER_S = 86_400;

export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  /** Below `/v1/`. */
  readonly path: string;
  readonly token: string | undefined;
  /** JSON. Zeroed by whoever made it. */
  readonly body?: Buffer;
  /** The longest answer that is read, in bytes; a longer one is *unreachable*. */
  readonly maxBytes: number;
}

export interface HttpCall {
  readonly signal: AbortSignal;
  /** Over a new connection, closed behind it. */
  readonly fresh: boolean;
  /** How long a connection may take, in milliseconds; undefined as long as the signal allows. */
  readonly connectMs: number | undefined;
}

export interface HttpAnswer {
  /** The address that answered. */
  readonly from: string;
  readonly status: number;
  readonly location: string | undefined;
  readonly retryAfter: string | undefined;
  /** May hold a DEK: zero it. */
  readonly body: Buffer;
}

export interface TlsSettings {
  /** Asked before each request: another buffer than before is for the next connection, and no older one is used any more. */
  readonly authorities: () => Buffer | undefined;
  readonly serverName: string | undefined;
}

/** One address: HTTP/1.1 over TLS, TCP or a Unix socket, with connections kept open. Every failure is an UpstreamFailure, *unreachable*. */
export class HttpAddress {
  readonly address: string;
  /** Undefined for a Unix socket: no redirect leads there. */
  readonly origin: string | undefined;
  readonly #target: RequestOptions;
  readonly #agentOptions: AgentOptions;
  readonly #secure: boolean;
  readonly #authorities: () => Buffer | undefined;
  #ca: Buffer | undefined;
  #agent: PlainAgent;

  constructor(address: string, { authorities, serverName }: TlsSettings) {
    this.#authorities = authorities;
    this.#ca = authorities();
    this.address = address;
    if (address.startsWith('unix:')) {
      this.#secure = false;
      this.#target = { socketPath: address.slice('unix:'.length), host: 'localhost' };
    } else {
      const { protocol, hostname, port, origin } = new URL(address);
      this.#secure = protocol === 'https:';
      this.origin = origin;
      // An IPv6 address is in brackets in a URL and nowhere else.
      this.#target = {
        host: hostname.replace(/^\[(.*)\]$/, '$1'),
        port: port === '' ? (this.#secure ? 443 : 80) : port,
      };
    }
    this.#agentOptions = {
      ...(serverName === undefined ? {} : { servername: serverName }),
      minVersion: 'TLSv1.2',
      maxSockets: MAX_CONNECTIONS,
    };
    this.#agent = this.#newAgent({ keepAlive: true, timeout: IDLE_MS });
  }

  async exchange(request: HttpRequest, call: HttpCall): Promise<HttpAnswer> {
    this.#renew();
    if (!call.fresh) return this.#attempt(request, call, this.#agent);
    const agent = this.#newAgent({});
    try {
      return await this.#attempt(request, call, agent);
    } finally {
      agent.destroy();
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Requests that are under way end over the connections that they have. */
  #renew(): void {
    const ca = this.#authorities();
    if (ca === this.#ca) return;
    this.#ca = ca;
    this.#agent = this.#newAgent({ keepAlive: true, timeout: IDLE_MS });
  }

  #newAgent(options: AgentOptions): PlainAgent {
    return this.#secure
      ? new TlsAgent({ ...this.#agentOptions, ...(this.#ca === undefined ? {} : { ca: this.#ca }), ...options })
      : new PlainAgent({ ...options, maxSockets: MAX_CONNECTIONS });
  }

  async #attempt(request: HttpRequest, call: HttpCall, agent: PlainAgent): Promise<HttpAnswer> {
    for (;;) {
      const sent = this.#send(request, call, agent);
      try {
        return await sent.answer;
      } catch (error) {
        // The server closed a connection that was kept open while the request was on its way: no fault of either. Nothing that is asked here
        // does harm when it is done twice. It ends: each failure takes one kept connection away.
        const stale = sent.request.reusedSocket && isReset(error) && !call.signal.aborted;
        if (!stale) throw this.#failure(error, call);
      }
    }
  }

  #send(request: HttpRequest, { signal, connectMs }: HttpCall, agent: PlainAgent) {
    const { method, path, token, body, maxBytes } = request;
    const options: RequestOptions = {
      ...this.#target,
      method,
      path: `/v1/${path}`,
      agent,
      headers: {
        accept: 'application/json',
        // What a proxy asks for that wants to be sure of a real client (require_request_header), against forged requests of browsers.
        'x-vault-request': 'true',
        ...(token === undefined ? {} : { 'x-vault-token': token }),
        ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': body.length }),
      },
    };
    const sent = (this.#secure ? tlsRequest : plainRequest)(options);
    const zeroReceived = collectReceived(sent);
    // A `signal` among the options would do the same, in four times the time.
    const giveUp = (): void => void sent.destroy(new Error('given up'));
    signal.addEventListener('abort', giveUp, { once: true });
    if (signal.aborted) giveUp();
    const answer = new Promise<HttpAnswer>((resolve, reject) => {
      sent.on('error', reject);
      sent.on('response', (response) => {
        readBody(response, maxBytes).then(
          (bytes) => resolve(this.#answer(response, bytes)),
          (error: Error) => {
            sent.destroy();
            reject(error);
          },
        );
      });
    }).finally(() => {
      signal.removeEventListener('abort', giveUp);
      zeroReceived();
    });
    if (connectMs !== undefined) limitConnecting(sent, this.#secure ? 'secureConnect' : 'connect', connectMs);
    sent.end(body);
    return { request: sent, answer };
  }

  #answer({ statusCode = 0, headers }: IncomingMessage, body: Buffer): HttpAnswer {
    return {
      from: this.address,
      status: statusCode,
      location: headers.location,
      retryAfter: headers['retry-after'],
      body,
    };
  }

  #failure(error: unknown, { signal }: HttpCall): UpstreamFailure {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = signal.aborted ? 'no answer before the call was given up' : (code ?? message);
    return new UpstreamFailure('unreachable', `${this.address}: ${why}`, { cause: error });
  }
}

/** The pause that an answer asks for. Only its form in seconds is used by Vault. */
export function retryAfterMs({ retryAfter }: Pick<HttpAnswer, 'retryAfter'>): number | undefined {
  if (retryAfter === undefined || !/^\d{1,6}$/.test(retryAfter)) return undefined;
  return Math.min(Number(retryAfter), MAX_RETRY_AFTER_S) * 1000;
}

function isReset(error: unknown): boolean {
  return ['ECONNRESET', 'EPIPE'].includes((error as NodeJS.ErrnoException).code ?? '');
}

function limitConnecting(sent: ClientRequest, connected: 'connect' | 'secureConnect', connectMs: number): void {
  sent.once('socket', (socket) => {
    if (sent.reusedSocket) return;
    const timer = setTimeout(() => sent.destroy(new Error(`no connection within ${connectMs} ms`)), connectMs);
    const stop = () => clearTimeout(timer);
    socket.once(connected, stop);
    sent.once('close', stop);
  });
}

/** What comes over the socket of a request lies in buffers of Node, of which the parser hands on copies. Returns what zeroes them. */
function collectReceived(sent: ClientRequest): () => void {
  const received: Buffer[] = [];
  const keep = (chunk: Buffer): void => void received.push(chunk);
  sent.once('socket', (socket) => socket.on('data', keep));
  return () => {
    sent.socket?.off('data', keep);
    for (const chunk of received) chunk.fill(0);
  };
}

/** The body in one buffer of its own; the pieces are zeroed. */
function readBody(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let length = 0;
  return new Promise<Buffer>((resolve, reject) => {
    response.on('data', (piece: Buffer) => {
      pieces.push(piece);
      length += piece.length;
      if (length > maxBytes) response.destroy(new Error(`an answer of over ${maxBytes} bytes`));
    });
    response.on('end', () => resolve(joined(pieces, length)));
    response.on('error', reject);
    // When it ended before its end without an error.
    response.on('close', () => reject(new Error('the answer was cut off')));
  }).finally(() => {
    for (const piece of pieces) piece.fill(0);
  });
}

function joined(pieces: readonly Buffer[], length: number): Buffer {
  const body = secretBuffer(length);
  let at = 0;
  for (const piece of pieces) at += piece.copy(body, at);
  return body;
}
