import { join } from 'node:path';
import { loadSync } from '@grpc/proto-loader';
import test from 'ava';
import { fileDescriptors } from '../../src/transport/descriptors.ts';
import { loadProtos } from '../../src/transport/protos.ts';

interface Message {
  name: string;
  field?: { name: string; typeName?: string; jsonName?: string }[];
  nestedType?: Message[];
  reservedRange?: { start: number; end: number }[];
}

interface File {
  name: string;
  package: string;
  dependency?: string[];
  messageType: Message[];
  service?: { method: { inputType: string; outputType: string }[] }[];
}

const codec = loadSync('google/protobuf/descriptor.proto')['google.protobuf.FileDescriptorProto'] as unknown as {
  deserialize(bytes: Buffer): File;
};

function files(definitions: Parameters<typeof fileDescriptors>[0]): Map<string, File> {
  return new Map(
    fileDescriptors(definitions)
      .map((bytes) => codec.deserialize(bytes))
      .map((file) => [file.package, file]),
  );
}

function message(file: File | undefined, name: string): Message {
  return file?.messageType.find((candidate) => candidate.name === name) ?? { name: 'none' };
}

test('files name what they depend on, once', (t) => {
  const found = files(loadProtos());
  t.deepEqual([...found.keys()].sort(), ['dekd.v1', 'google.protobuf', 'google.rpc', 'grpc.health.v1']);
  const name = (packageName: string) => found.get(packageName)?.name ?? '';
  t.deepEqual(found.get('dekd.v1')?.dependency?.toSorted(), [name('google.protobuf'), name('google.rpc')].sort());
  t.deepEqual(found.get('google.rpc')?.dependency, [name('google.protobuf')]);
  t.is(found.get('google.protobuf')?.dependency, undefined);
});

test('type names are absolute, in fields and methods', (t) => {
  const found = files(loadProtos());
  for (const file of found.values()) {
    for (const { inputType, outputType } of (file.service ?? []).flatMap(({ method }) => method)) {
      t.regex(`${inputType} ${outputType}`, /^\.(dekd|grpc\.health)\.v1\.\w+ \.\1\.v1\.\w+$/);
    }
    for (const { typeName } of file.messageType.flatMap(({ field }) => field ?? [])) {
      if (typeName !== undefined) t.regex(typeName, /^\.(dekd\.v1|google\.protobuf|google\.rpc|grpc\.health\.v1)\./);
    }
  }
  const result = message(found.get('dekd.v1'), 'EncryptBatchResponse');
  t.is(result.field?.[0]?.typeName, '.dekd.v1.EncryptBatchResponse.Result');
  t.is(result.nestedType?.[0]?.field?.[0]?.typeName, '.google.rpc.Status');
});

test("maps' entry types, JSON names and reserved ranges are what protoc writes", (t) => {
  const agent = files(loadProtos()).get('dekd.v1');
  const request = message(agent, 'ReEncryptRequest');
  const field = request.field?.find(({ name }) => name === 'source_encryption_context');
  t.is(field?.typeName, '.dekd.v1.ReEncryptRequest.SourceEncryptionContextEntry');
  t.is(field?.jsonName, 'sourceEncryptionContext');
  t.true(request.nestedType?.some(({ name }) => name === 'SourceEncryptionContextEntry'));
  const { reservedRange } = message(agent, 'GenerateDataKeyWithoutPlaintextResponse');
  t.deepEqual(
    reservedRange?.map(({ start, end }) => [start, end]),
    [[1, 2]],
  );
});

test('messages that contain each other and maps of messages', (t) => {
  const file = files(loadSync(join(import.meta.dirname, 'everything.proto'), { keepCase: true })).get('test');
  const whole = message(file, 'Message');
  const types = Object.fromEntries((whole.field ?? []).map(({ name, typeName }) => [name, typeName]));
  t.is(types['inner'], '.test.Message.Inner');
  t.is(types['time'], '.google.protobuf.Timestamp');
  t.is(types['inners'], '.test.Message.InnersEntry');
  const entry = whole.nestedType?.find(({ name }) => name === 'InnersEntry');
  t.is(entry?.field?.[1]?.typeName, '.test.Message.Inner');
  t.is(whole.nestedType?.find(({ name }) => name === 'Inner')?.field?.[1]?.typeName, '.test.Message');
});
