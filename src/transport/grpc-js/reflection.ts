import type { handleBidiStreamingCall, Server, UntypedServiceImplementation } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition, type ServiceDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { protoPath as healthProtoPath } from 'grpc-health-check';
import { fileDescriptors } from '../descriptors.ts';

type StreamHandler = handleBidiStreamingCall<unknown, unknown>;

const RPC = 'ServerReflectionInfo';

/** Serves grpc.reflection v1 and v1alpha for `services`. What it shows is built by the first who asks: that takes 70 ms of a cold start. */
export function addReflection(server: Server, definitions: PackageDefinition, services: readonly string[]): void {
  let handlers: Map<string, StreamHandler> | undefined;
  for (const [path, { definition }] of reflectionServices([], [])) {
    const answer: StreamHandler = (stream) => {
      handlers ??= new Map(
        [...reflectionServices(files(definitions), services)].map(([key, { handler }]) => [key, handler]),
      );
      handlers.get(path)?.(stream);
    };
    server.addService(definition, { [RPC]: answer });
  }
}

/** What @grpc/reflection would add to a server, by the path of its one RPC. */
function reflectionServices(
  fileDescriptorProtos: Buffer[],
  services: readonly string[],
): Map<string, { definition: ServiceDefinition; handler: StreamHandler }> {
  const found = new Map<string, { definition: ServiceDefinition; handler: StreamHandler }>();
  // Of a package definition it reads the files alone.
  const service = new ReflectionService({ files: { fileDescriptorProtos } } as unknown as PackageDefinition, {
    services: [...services],
  });
  service.addToServer({
    addService: (definition: ServiceDefinition, implementation: UntypedServiceImplementation) => {
      found.set(definition[RPC]!.path, { definition, handler: implementation[RPC] as StreamHandler });
    },
  } as Pick<Server, 'addService'>);
  return found;
}

function files(definitions: PackageDefinition): Buffer[] {
  return fileDescriptors({ ...definitions, ...loadSync(healthProtoPath) });
}
