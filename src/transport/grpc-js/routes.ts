import type { ServiceDefinition } from '@grpc/proto-loader';
import { MessageTables, type Table } from '../message-table.ts';
import { type Handler, type ServerOptions, type Service, UnimplementedMethod } from '../transport.ts';
import type { FairTurns } from './fair-turns.ts';
import { HEALTH_SERVICE, type Health, healthStatus } from './health.ts';
import { IncomingMessage } from './incoming-message.ts';
import type { Route } from './open-call.ts';
import type { OpenCalls } from './open-calls.ts';
import { REFLECTION_METHODS, Reflection } from './reflection.ts';
import type { StreamingRoute } from './streaming-call.ts';
import type { UnaryRoute } from './unary-call.ts';

/** Health checks and reflection name a service or a symbol, and anybody may call them. */
const MAX_STANDARD_MESSAGE_BYTES = 4 * 1024;

/** Of one call: grpcurl needs a handful. */
const MAX_REFLECTION_REQUESTS = 64;

/** Of messages of which only the form is checked. */
const NO_TABLE: Table = { fields: [], maxFields: 32 };

type Method = ServiceDefinition[string];

/** What a server serves: its own services, health and reflection. */
export class Routes {
  /** By path: dekd's own RPCs, and of health those that are unary. */
  readonly unary = new Map<string, UnaryRoute>();
  /** By path: health's and reflection's streams. */
  readonly streaming = new Map<string, StreamingRoute>();
  /** All of them as grpc-js takes them, with IncomingMessage and OutgoingMessage in the places of their messages. */
  readonly definition: ServiceDefinition = {};
  readonly #options: ServerOptions;
  readonly #open: OpenCalls;
  readonly #turns: FairTurns;

  constructor(options: ServerOptions, health: Health, open: OpenCalls, turns: FairTurns) {
    this.#options = options;
    this.#open = open;
    this.#turns = turns;
    const tables = new MessageTables(options.packageDefinition, options.maxima);
    for (const service of options.services) this.#addService(service, tables);
    this.#addHealth(health, tables);
    this.#addReflection();
  }

  #addService(service: Service, tables: MessageTables): void {
    for (const [name, method] of Object.entries(service.definition)) {
      if (method.requestStream || method.responseStream)
        throw new Error(`internal error: ${method.path} is no unary RPC`);
      const handler = handlerOf(service, name, method.path.slice(1));
      this.unary.set(method.path, { ...this.#checked(method, tables), handler, forAnybody: false });
    }
  }

  #addHealth(health: Health, tables: MessageTables): void {
    const service = this.#options.packageDefinition[HEALTH_SERVICE] as ServiceDefinition;
    const toStatus = healthStatus(this.#options.toStatus);
    for (const [name, method] of Object.entries(service)) {
      const maxMessageBytes = MAX_STANDARD_MESSAGE_BYTES;
      const route = { ...this.#checked(method, tables), maxMessageBytes, toStatus };
      if (method.responseStream) this.streaming.set(method.path, { ...route, handler: health.watch });
      else this.unary.set(method.path, { ...route, handler: health.handlers[name]!, forAnybody: true });
    }
  }

  #addReflection(): void {
    const { packageDefinition, services } = this.#options;
    const own = services.map(({ definition }) => Object.values(definition)[0]!.path.split('/')[1]!);
    const reflection = new Reflection(packageDefinition, [...own, HEALTH_SERVICE]);
    for (const method of REFLECTION_METHODS) {
      const path = `/${method}`;
      const streams = { requestStream: true, responseStream: true };
      const decode = (bytes: Buffer): unknown => reflection.version(method).decode(bytes);
      this.#serve({ path, ...streams }, NO_TABLE, decode);
      this.streaming.set(path, {
        ...this.#route(path, (answer) => reflection.version(method).encode(answer)),
        maxMessageBytes: MAX_STANDARD_MESSAGE_BYTES,
        maxMessages: MAX_REFLECTION_REQUESTS,
        handler: (request, call) => call.answer(reflection.version(method).answer(request)),
      });
    }
  }

  #checked(method: Method, tables: MessageTables): Route {
    this.#serve(method, tables.of(method.requestType), method.requestDeserialize);
    return this.#route(method.path, method.responseSerialize as (message: unknown) => Uint8Array);
  }

  #route(path: string, serialize: Route['serialize']): Route {
    const { toStatus, maxMessageBytes } = this.#options;
    const [open, turns] = [this.#open, this.#turns];
    return { method: path.slice(1), serialize, toStatus, maxMessageBytes, maxMessages: 1, open, turns };
  }

  #serve(
    { path, requestStream, responseStream }: Pick<Method, 'path' | 'requestStream' | 'responseStream'>,
    table: Table,
    decode: (bytes: Buffer) => unknown,
  ): void {
    this.definition[path] = {
      path,
      requestStream,
      responseStream,
      requestDeserialize: (bytes: Buffer) => new IncomingMessage(bytes, table, decode),
      // An OutgoingMessage already, which stands in for the Buffer.
      responseSerialize: (message: object) => message as Buffer,
    } as Method;
  }
}

function handlerOf(service: Service, name: string, method: string): Handler {
  const handler = service.handlers[name];
  if (handler !== undefined) return handler;
  return () => {
    throw new UnimplementedMethod(method);
  };
}
