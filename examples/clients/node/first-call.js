// A first call from Node: encrypts a value, opens it again, and meets a refusal. Node 20.11 or newer.
import { join } from 'node:path';
import { promisify } from 'node:util';
import { credentials, loadPackageDefinition, status } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const repository = join(import.meta.dirname, '..', '..', '..');
const socket = process.env.DEKD_SOCKET ?? join(repository, '.dekd', 'agent.sock');

const protos = loadSync('dekd/v1/agent.proto', { includeDirs: [join(repository, 'proto')], keepCase: true });
const { KeyAgent } = loadPackageDefinition(protos).dekd.v1;
const agent = new KeyAgent(`unix:${socket}`, credentials.createInsecure());
const encrypt = promisify(agent.Encrypt).bind(agent);
const decrypt = promisify(agent.Decrypt).bind(agent);

// Without a deadline a call may wait 10 s for a KMS.
const soon = () => ({ deadline: Date.now() + 5_000 });

const context = { tenant: 'acme', table: 'orders' };
const { ciphertext } = await encrypt(
  { key: 'default', plaintext: Buffer.from('hello'), encryption_context: context },
  soon(),
);
process.stdout.write(`ciphertext: ${ciphertext.length} bytes\n`);

const { plaintext } = await decrypt({ ciphertext, encryption_context: context }, soon());
process.stdout.write(`plaintext: ${plaintext}\n`);

try {
  await decrypt({ ciphertext, encryption_context: { tenant: 'other' } }, soon());
} catch (error) {
  process.stdout.write(`another context: ${status[error.code]}: ${error.details}\n`);
}
agent.close();
