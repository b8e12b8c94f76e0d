/**
 * EncryptBatch of 100 items of 256 bytes with a context of two entries, per item, against as many single Encrypt calls, through the whole agent over
 * a Unix socket; DEK in memory. One agent, runs in turn, medians.
 */
import { join } from 'node:path';
import { Client, credentials, type MethodDefinition } from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/proto-loader';
import { loadProtos } from '../../src/transport/protos.ts';
import { inDirectory } from '../directory.ts';
import { type BenchmarkResult, median, row } from '../result.ts';
import { startServer, stopServer } from './load.ts';

const RUNS = 9;
const ITEMS = 100;
const SINGLE_CALLS = 2_000;
const BATCH_CALLS = 60;

const root = join(import.meta.dirname, '..', '..');
const service = loadProtos()['dekd.v1.KeyAgent'] as ServiceDefinition;

export async function run(): Promise<BenchmarkResult> {
  return inDirectory(measure);
}

async function measure(directory: string): Promise<BenchmarkResult> {
  const agent = await startServer([join(root, 'src', 'cli', 'dekd.ts'), '--development', '--state', directory]);
  const client = new Client(`unix:${join(directory, 'agent.sock')}`, credentials.createInsecure());
  const item = {
    key: 'default',
    plaintext: Buffer.alloc(256, 0x5a),
    encryption_context: { tenant: 'acme', table: 'orders' },
  };
  const single = caller(client, 'Encrypt', item);
  const batch = caller(client, 'EncryptBatch', { items: new Array(ITEMS).fill(item) });
  const ofSingle: number[] = [];
  const ofBatch: number[] = [];
  for (let round = -1; round < RUNS; round++) {
    const singleMicros = await microsEach(SINGLE_CALLS, single);
    const itemMicros = (await microsEach(BATCH_CALLS, batch)) / ITEMS;
    // The first round warms both up.
    if (round < 0) continue;
    ofSingle.push(singleMicros);
    ofBatch.push(itemMicros);
  }
  client.close();
  await stopServer(agent);
  return {
    name: `EncryptBatch of ${ITEMS}, an item : single Encrypt, one after the other`,
    rows: [row('256 bytes, time', median(ofBatch), median(ofSingle), 'µs', '≤ 0.25')],
  };
}

/** The request is serialised for each call, as an application does; the answer is decoded. */
function caller(client: Client, rpc: string, request: object): () => Promise<void> {
  const method = service[rpc] as MethodDefinition<object, object>;
  return () =>
    new Promise<void>((resolve, reject) => {
      client.makeUnaryRequest(method.path, method.requestSerialize, method.responseDeserialize, request, (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
}

async function microsEach(calls: number, call: () => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  for (let done = 0; done < calls; done++) await call();
  return ((performance.now() - startedAt) * 1_000) / calls;
}
