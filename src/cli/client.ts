import { Client, credentials } from '@grpc/grpc-js';
import type { MethodDefinition, ServiceDefinition } from '@grpc/proto-loader';
import { loadProtos } from '../transport/protos.ts';
import { type GlobalFlags, timeoutMs } from './flags.ts';
import { rpcError } from './rpc-error.ts';
import { checkListening, type SocketKind, socketPath } from './sockets.ts';

export interface AgentCall {
  readonly socket: SocketKind;
  /** `dekd.v1.KeyAgent`. */
  readonly service: string;
  readonly method: string;
  readonly request: object;
  /** Largest answer to take. Default gRPC's 4 MiB. */
  readonly maxAnswerBytes?: number;
}

/**
 * One call of one agent, with the connection made for it and closed behind it. Throws CliError: nobody listens, the agent refused,
 * or no answer came within `--timeout`.
 */
export async function callAgent<Response>(flags: GlobalFlags, call: AgentCall): Promise<Response> {
  const protos = loadProtos();
  const service = protos[call.service] as ServiceDefinition;
  const timeout = timeoutMs(flags);
  const path = socketPath(call.socket, flags);
  await checkListening(call.socket, path);
  const client = new Client(`unix:${path.startsWith('/') ? path : `./${path}`}`, credentials.createInsecure(), {
    'grpc.enable_retries': 0,
    ...(call.maxAnswerBytes === undefined ? {} : { 'grpc.max_receive_message_length': call.maxAnswerBytes }),
  });
  try {
    return await unary<Response>(client, service[call.method] as Method, call.request, timeout);
  } catch (error) {
    throw rpcError(error, protos, timeout);
  } finally {
    client.close();
  }
}

/** A call of the administration: service dekd.v1.KeyAdmin on its own socket. */
export function callAdmin<Response>(flags: GlobalFlags, method: string, request: object): Promise<Response> {
  return callAgent<Response>(flags, { socket: 'admin', service: 'dekd.v1.KeyAdmin', method, request });
}

type Method = MethodDefinition<object, object>;

function unary<Response>(client: Client, method: Method, request: object, timeout: number): Promise<Response> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      { deadline: Date.now() + timeout },
      (error, response) => {
        if (error === null && response !== undefined) resolve(response as Response);
        else reject(error);
      },
    );
  });
}
