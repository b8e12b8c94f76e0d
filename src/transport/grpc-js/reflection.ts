import { createRequire } from 'node:module';
import type { Server, ServiceDefinition } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { fileDescriptors } from '../descriptors.ts';

/** grpc.reflection v1 and v1alpha, which tell it in the same words. */
export const REFLECTION_METHODS = ['v1', 'v1alpha'].map(
  (version) => `grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
);

/** One version of reflection. */
export interface ReflectionVersion {
  readonly decode: (bytes: Buffer) => unknown;
  /** Throws nothing: what is unknown is an answer, too. */
  readonly answer: (request: unknown) => unknown;
  readonly encode: (answer: unknown) => Uint8Array;
}

/** Server reflection for `services`. Library and descriptors cost a cold start 90 ms: the first who asks pays. */
export class Reflection {
  readonly #definitions: PackageDefinition;
  readonly #services: readonly string[];
  #versions: ReadonlyMap<string, ReflectionVersion> | undefined;

  constructor(definitions: PackageDefinition, services: readonly string[]) {
    this.#definitions = definitions;
    this.#services = services;
  }

  /** `method`: one of REFLECTION_METHODS. */
  version(method: string): ReflectionVersion {
    this.#versions ??= this.#load();
    return this.#versions.get(method)!;
  }

  #load(): Map<string, ReflectionVersion> {
    const library = createRequire(import.meta.url)('@grpc/reflection') as typeof import('@grpc/reflection');
    // Of a package definition it reads the files alone.
    const shown = { files: { fileDescriptorProtos: fileDescriptors(this.#definitions) } };
    const service = new library.ReflectionService(shown as never, { services: [...this.#services] });
    const versions = new Map<string, ReflectionVersion>();
    const addService = (definition: ServiceDefinition, implementation: Record<string, Handle>): void => {
      for (const [name, { path, requestDeserialize, responseSerialize }] of Object.entries(definition)) {
        const answer = questions(implementation[name]!);
        versions.set(path.slice(1), { decode: requestDeserialize, answer, encode: responseSerialize });
      }
    };
    service.addToServer({ addService } as unknown as Server);
    return versions;
  }
}

/** What the library does with a stream: it hears each request, and writes its answer at once, however many are unread. */
type Handle = (stream: {
  on(event: string, listener: (request: unknown) => void): void;
  write(answer: unknown): void;
}) => void;

/** The library's answers without its stream. */
function questions(handle: Handle): (request: unknown) => unknown {
  let ask = (_request: unknown): void => {};
  let answer: unknown;
  handle({
    on: (event, listener) => {
      if (event === 'data') ask = listener;
    },
    write: (written) => {
      answer = written;
    },
  });
  return (request) => {
    ask(request);
    return answer;
  };
}
