import { createRequire } from 'node:module';
import type { Server, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';

/** Loads a package at its first use: all of grpc's are CommonJS. */
export const requirePackage = createRequire(import.meta.url);

/** One RPC of a service, as it is known without its library. */
export interface LazyMethod {
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
}

/** What a library would add to a server. */
export interface LibraryService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

/** What `addToServer` of a library's service adds, each service by the path of its first RPC. */
export function servicesOf(library: { addToServer(server: Server): void }): LibraryService[] {
  const found: LibraryService[] = [];
  library.addToServer({
    addService: (definition: ServiceDefinition, implementation: UntypedServiceImplementation) => {
      found.push({ definition, implementation });
    },
  } as unknown as Server);
  return found;
}

/** Adds the RPCs of a service that is built by the first who calls one: a start should not wait for what nobody has asked for. */
export function addLazyService(server: Server, methods: readonly LazyMethod[], build: () => LibraryService[]): void {
  let built: LibraryService[] | undefined;
  const library = (path: string): LibraryMethod => {
    built ??= build();
    return methodOf(built, path);
  };
  const definition: Record<string, ServiceDefinition[string]> = {};
  const implementation: UntypedServiceImplementation = {};
  for (const method of methods) {
    const { path } = method;
    definition[path] = {
      ...method,
      requestSerialize: (message) => library(path).definition.requestSerialize(message),
      requestDeserialize: (bytes) => library(path).definition.requestDeserialize(bytes),
      responseSerialize: (message) => library(path).definition.responseSerialize(message),
      responseDeserialize: (bytes) => library(path).definition.responseDeserialize(bytes),
    };
    // A stream alone, or a call and its callback: the library knows.
    implementation[path] = (...args: unknown[]) => library(path).handle(...args);
  }
  server.addService(definition, implementation);
}

interface LibraryMethod {
  readonly definition: ServiceDefinition[string];
  readonly handle: (...args: unknown[]) => void;
}

function methodOf(services: readonly LibraryService[], path: string): LibraryMethod {
  for (const { definition, implementation } of services) {
    for (const [name, method] of Object.entries(definition)) {
      if (method.path !== path) continue;
      const handler = implementation[name] ?? implementation[method.originalName ?? ''];
      return { definition: method, handle: handler as unknown as LibraryMethod['handle'] };
    }
  }
  throw new Error(`internal error: no library serves ${path}`);
}
