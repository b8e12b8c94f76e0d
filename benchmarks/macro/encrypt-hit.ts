/**
 * Encrypt of 256 bytes with a context of two entries, from a DEK in memory, through the whole agent (policy, counters, logging and
 * cleansing on), over a Unix socket, against a bare grpc-js server that answers with as many bytes and does nothing. Each server in a process of its
 * own on one core, the load on the other; runs in turn, medians.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, credentials, type MethodDefinition } from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/proto-loader';
import { loadProtos } from '../../src/transport/protos.ts';
import { inDirectory } from '../directory.ts';
import { type BenchmarkResult, median, row } from '../result.ts';
import { type Load, loadGenerator, runLoad, startServer, stopServer, type Throughput } from './load.ts';

const RUNS = 5;
const BUSY = { connections: 4, streams: 32, requests: 100_000 };
const IDLE = { connections: 1, streams: 1, requests: 10_000 };
const FRAME_HEADER_BYTES = 5;

const root = join(import.meta.dirname, '..', '..');
const method = (loadProtos()['dekd.v1.KeyAgent'] as ServiceDefinition)['Encrypt'] as MethodDefinition<object, Answer>;

interface Answer {
  readonly ciphertext: Buffer;
}

export async function run(): Promise<BenchmarkResult> {
  return inDirectory(measure);
}

async function measure(directory: string): Promise<BenchmarkResult> {
  const request = method.requestSerialize({
    key: 'default',
    plaintext: Buffer.alloc(256, 0x5a),
    encryption_context: { tenant: 'acme', table: 'orders' },
  });
  const bodyFile = join(directory, 'request');
  writeFileSync(bodyFile, frame(request));
  const agentSocket = join(directory, 'agent.sock');
  const agent = await startServer([join(root, 'src', 'cli', 'dekd.ts'), '--development', '--state', directory]);
  const answer = await call(agentSocket, request);
  const echoSocket = join(directory, 'echo.sock');
  const echoArgs = [join(import.meta.dirname, 'echo-server.ts'), echoSocket, String(answer.ciphertext.length)];
  const echo = await startServer(echoArgs);
  const answerBytes = frame(method.responseSerialize(await call(echoSocket, request))).length;

  const load = (socket: string, shape: typeof BUSY): Throughput =>
    runLoad({ socket, path: method.path, bodyFile, ...shape } satisfies Load, answerBytes);
  const runs = { busy: [[], []] as Throughput[][], idle: [[], []] as Throughput[][] };
  for (let round = -1; round < RUNS; round++) {
    for (const [at, socket] of [agentSocket, echoSocket].entries()) {
      const busy = load(socket, BUSY);
      const idle = load(socket, IDLE);
      // The first round warms both servers up.
      if (round < 0) continue;
      runs.busy[at]!.push(busy);
      runs.idle[at]!.push(idle);
    }
  }
  await stopServer(agent);
  await stopServer(echo);
  const throughput = runs.busy.map((found) => median(found.map(({ requestsPerSecond }) => requestsPerSecond)));
  const latency = runs.idle.map((found) => median(found.map(({ meanLatencyMicros }) => meanLatencyMicros)));
  return {
    name: `Encrypt hit : bare grpc-js echo (load: ${loadGenerator()})`,
    rows: [
      row('4 connections × 32 streams', throughput[0]!, throughput[1]!, 'requests/s', '≥ 0.8'),
      row('1 × 1, mean latency', latency[0]!, latency[1]!, 'µs'),
    ],
  };
}

function frame(message: Uint8Array): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  header.writeUInt32BE(message.length, 1);
  return Buffer.concat([header, message]);
}

/** One call, so that the DEK is made and the answer's size is known. */
function call(socket: string, request: Buffer): Promise<Answer> {
  const client = new Client(`unix:${socket}`, credentials.createInsecure());
  return new Promise<Answer>((resolve, reject) => {
    const identity = (bytes: Buffer) => bytes;
    client.makeUnaryRequest(method.path, identity, method.responseDeserialize, request, (error, answer) => {
      client.close();
      if (error === null) resolve(answer as Answer);
      else reject(error);
    });
  });
}
