import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What one request is answered with. `silent` never is; `reset` closes the connection. */
export type Answer =
  | {
      readonly status: number;
      readonly body: unknown;
      readonly type?: string;
      readonly headers?: Record<string, string>;
    }
  | 'silent'
  | 'reset';

export interface FakeKms {
  readonly endpoint: string;
  /** Actions asked for, e.g. Decrypt, in order. */
  readonly asked: string[];
  /** How many connections were made. */
  connections(): number;
  stop(): Promise<void>;
}

/** A KMS that gives recorded answers: for what neither LocalStack nor moto can be made to say. */
export async function startFakeKms(answerTo: (action: string) => Answer): Promise<FakeKms> {
  const asked: string[] = [];
  let connections = 0;
  const server: Server = createServer((request, response) => {
    const action = String(request.headers['x-amz-target']).replace('TrentService.', '');
    asked.push(action);
    request.resume();
    request.once('end', () => send(response, answerTo(action)));
  });
  server.on('connection', () => connections++);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    connections: () => connections,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function send(response: ServerResponse, answer: Answer): void {
  if (answer === 'silent') return;
  if (answer === 'reset') {
    response.socket?.resetAndDestroy();
    return;
  }
  const { status, body, type = 'application/x-amz-json-1.1', headers = {} } = answer;
  response.writeHead(status, { 'content-type': type, 'x-amzn-requestid': 'r-1', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

/** An error as KMS writes it: the protocol AWS JSON 1.1. */
export function failing(name: string, status = 400, prefix = ''): Answer {
  return { status, body: { __type: `${prefix}${name}`, message: 'what the service says' } };
}
