import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';

const FILES = [
  'dekd/v1/agent.proto',
  'dekd/v1/admin.proto',
  'google/rpc/error_details.proto',
  'grpc/health/v1/health.proto',
];

/**
 * Everything that dekd's proto files declare, and grpc.health.v1. Field names stay as written, 64-bit integers and enums are strings, absent fields have
 * their defaults. Throws when the package is incomplete.
 */
export function loadProtos(): PackageDefinition {
  return loadSync(FILES, {
    keepCase: true,
    longs: String,
    enums: String,
    defaults: true,
    oneofs: true,
    includeDirs: [protoDirectory()],
  });
}

/** `proto/` lies in the package's root: two folders up from src/transport, three from dist/src/transport. */
function protoDirectory(): string {
  let directory = import.meta.dirname;
  while (!existsSync(join(directory, 'proto', FILES[0] as string))) {
    const parent = dirname(directory);
    if (parent === directory) throw new Error(`proto/${FILES[0]} is missing from the package`);
    directory = parent;
  }
  return join(directory, 'proto');
}
