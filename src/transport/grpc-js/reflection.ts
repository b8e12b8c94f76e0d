import type { Server } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { fileDescriptors } from '../descriptors.ts';
import { addLazyService, requirePackage, servicesOf } from './lazy-service.ts';

const METHODS = ['v1', 'v1alpha'].map((version) => ({
  path: `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
  requestStream: true,
  responseStream: true,
}));

/** Serves grpc.reflection v1 and v1alpha for `services`. Library and descriptors cost a cold start 90 ms: the first who asks pays. */
export function addReflection(server: Server, definitions: PackageDefinition, services: readonly string[]): void {
  addLazyService(server, METHODS, () => {
    const { ReflectionService } = requirePackage('@grpc/reflection') as typeof import('@grpc/reflection');
    // Of a package definition it reads the files alone.
    const shown = { files: { fileDescriptorProtos: files(definitions) } } as unknown as PackageDefinition;
    return servicesOf(new ReflectionService(shown, { services: [...services] }));
  });
}

function files(definitions: PackageDefinition): Buffer[] {
  const { protoPath } = requirePackage('grpc-health-check') as typeof import('grpc-health-check');
  const { loadSync } = requirePackage('@grpc/proto-loader') as typeof import('@grpc/proto-loader');
  return fileDescriptors({ ...definitions, ...loadSync(protoPath) });
}
