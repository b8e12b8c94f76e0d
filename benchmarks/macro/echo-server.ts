/**
 * The yardstick: a bare grpc-js server, as its README builds one, on a Unix socket. Encrypt answers with as many bytes as dekd does, and
 * does nothing else. `node echo-server.ts SOCKET CIPHERTEXT_BYTES`; says `ready` on standard output.
 */
import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type sendUnaryData,
} from '@grpc/grpc-js';
import { loadProtos } from '../../src/transport/protos.ts';

const [path, ciphertextBytes] = process.argv.slice(2);
const ciphertext = Buffer.alloc(Number(ciphertextBytes), 0xa5);

interface Dekd {
  dekd: { v1: { KeyAgent: { service: ServiceDefinition } } };
}

const { dekd } = loadPackageDefinition(loadProtos()) as unknown as Dekd;
const server = new Server();
server.addService(dekd.v1.KeyAgent.service, {
  Encrypt: ({ request }: { request: { key: string } }, callback: sendUnaryData<object>) =>
    callback(null, { ciphertext, key: request.key, generation: 0, served_in_grace: false, outdated: false }),
});
server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
  console.log('ready');
});
