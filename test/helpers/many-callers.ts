import { Client, credentials } from '@grpc/grpc-js';
import type { MethodDefinition } from '@grpc/proto-loader';
import { PROTOS } from './client.ts';

const CALLS_PER_CONNECTION = 50;

/** Makes so many calls at once, on as many connections of stock clients as that takes; how many succeeded, and with which bytes as plaintext. */
export async function callAtOnce(
  socket: string,
  rpc: string,
  request: object,
  calls: number,
): Promise<{ succeeded: number; plaintexts: Set<string>; failures: Set<string> }> {
  const method = PROTOS['dekd.v1.KeyAgent']?.[rpc as never] as unknown as MethodDefinition<object, object>;
  const connections = Array.from({ length: Math.ceil(calls / CALLS_PER_CONNECTION) }, () => {
    // Or all clients of a process share one connection, and its 64 streams.
    return new Client(`unix:${socket}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  });
  await Promise.all(connections.map(connected));
  const plaintexts = new Set<string>();
  const failures = new Set<string>();
  let succeeded = 0;
  const one = (at: number): Promise<void> =>
    new Promise((resolve) => {
      const client = connections[at % connections.length] as Client;
      const options = { deadline: Date.now() + 20_000 };
      const { path, requestSerialize, responseDeserialize } = method;
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, (error, message) => {
        if (error === null) {
          succeeded++;
          plaintexts.add(String((message as { plaintext: Buffer }).plaintext));
        } else failures.add(error.details);
        resolve();
      });
    });
  await Promise.all(Array.from({ length: calls }, (_, at) => one(at)));
  for (const client of connections) client.close();
  return { succeeded, plaintexts, failures };
}

function connected(client: Client): Promise<void> {
  return new Promise((resolve, reject) =>
    client.waitForReady(Date.now() + 20_000, (error) => (error === undefined ? resolve() : reject(error))),
  );
}
