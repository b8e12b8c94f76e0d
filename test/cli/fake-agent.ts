import { join } from 'node:path';
import { Metadata, Server, ServerCredentials, status, type UntypedServiceImplementation } from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/proto-loader';
import type { TestFn } from 'ava';
import { loadProtos } from '../../src/transport/protos.ts';
import { temporaryDirectory } from './run.ts';

/** Answers one RPC: with a message, or with what refuse() makes. */
export type Answer = (request: Request) => object;
// biome-ignore lint/suspicious/noExplicitAny: messages as proto-loader decodes them; each test states what it expects
export type Request = any;

export interface FakeAgent {
  readonly agentSocket: string;
  readonly adminSocket: string;
  /** Flags that lead dekctl here. */
  readonly flags: readonly string[];
}

const protos = loadProtos();

/** An agent's two sockets with answers by RPC name, served by stock grpc-js while the test file runs. */
export function fakeAgent(test: TestFn, answers: Readonly<Record<string, Answer>>): FakeAgent {
  const directory = temporaryDirectory(test);
  const agentSocket = join(directory, 'agent.sock');
  const adminSocket = join(directory, 'admin.sock');
  const servers: Server[] = [];
  test.before(async () => {
    servers.push(await listen(agentSocket, 'dekd.v1.KeyAgent', answers));
    servers.push(await listen(adminSocket, 'dekd.v1.KeyAdmin', answers));
  });
  test.after.always(() => {
    for (const server of servers) server.forceShutdown();
  });
  return { agentSocket, adminSocket, flags: ['--socket', agentSocket, '--admin-socket', adminSocket] };
}

/** The error that an agent answers with: status, text and google.rpc.ErrorInfo. */
export function refuse(code: number, message: string, reason?: string, domain = 'dekd'): never {
  const metadata = new Metadata();
  if (reason !== undefined) metadata.set('grpc-status-details-bin', statusDetails(code, message, reason, domain));
  throw Object.assign(new Error(message), { code, details: message, metadata });
}

export function statusDetails(code: number, message: string, reason: string, domain = 'dekd'): Buffer {
  const info = serialize('google.rpc.ErrorInfo', { reason, domain, metadata: { field: 'x' } });
  const retry = { type_url: 'type.googleapis.com/google.rpc.RetryInfo', value: Buffer.alloc(0) };
  const details = [retry, { type_url: 'type.googleapis.com/google.rpc.ErrorInfo', value: info }];
  return serialize('google.rpc.Status', { code, message, details });
}

function serialize(type: string, message: object): Buffer {
  return (protos[type] as unknown as { serialize(message: object): Buffer }).serialize(message);
}

function listen(path: string, name: string, answers: Readonly<Record<string, Answer>>): Promise<Server> {
  const server = new Server();
  const definition = protos[name] as ServiceDefinition;
  server.addService(definition, implementation(Object.keys(definition), answers));
  server.addService(protos['grpc.health.v1.Health'] as ServiceDefinition, implementation(['Check'], answers));
  return new Promise((resolve, reject) => {
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve(server);
      else reject(error);
    });
  });
}

function implementation(
  methods: readonly string[],
  answers: Readonly<Record<string, Answer>>,
): UntypedServiceImplementation {
  const handler =
    (method: string) => (call: { request: object }, callback: (error: unknown, value?: object) => void) => {
      try {
        const answer = answers[method];
        if (answer === undefined) refuse(status.UNIMPLEMENTED, `${method} is not served`, 'UNIMPLEMENTED');
        else callback(null, answer(call.request));
      } catch (error) {
        callback(error);
      }
    };
  return Object.fromEntries(
    methods.map((method) => [method, handler(method)]),
  ) as unknown as UntypedServiceImplementation;
}
