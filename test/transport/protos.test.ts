import test from 'ava';
import { loadProtos } from '../../src/transport/protos.ts';

test('both services and the error details are there, with names as written', (t) => {
  const protos = loadProtos();
  for (const name of [
    'dekd.v1.KeyAgent',
    'dekd.v1.KeyAdmin',
    'google.rpc.Status',
    'google.rpc.ErrorInfo',
    'google.rpc.RetryInfo',
    'grpc.health.v1.Health',
  ]) {
    t.truthy(protos[name], name);
  }
  const { type } = protos['dekd.v1.EncryptRequest'] as { type: { field: { name: string }[] } };
  t.deepEqual(
    type.field.map(({ name }) => name),
    ['key', 'plaintext', 'encryption_context', 'associated_data', 'dry_run'],
  );
});
