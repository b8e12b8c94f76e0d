/** Load where h2load is not installed: `node load-client.ts JSON` (a Load of load.ts); prints the measured JSON. */
import { readFileSync } from 'node:fs';
import { type ClientHttp2Session, connect } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import type { Load } from './load.ts';

const load: Load = JSON.parse(process.argv[2] as string);
const body = readFileSync(load.bodyFile);
const sessions = Array.from({ length: load.connections }, () =>
  connect('http://localhost', { createConnection: () => connectSocket(load.socket) }),
);
let unsent = load.requests;
let bytes = 0;
let waitedMs = 0;

const start = performance.now();
await Promise.all(sessions.flatMap((session) => Array.from({ length: load.streams }, () => caller(session))));
const seconds = (performance.now() - start) / 1000;
for (const session of sessions) session.close();
console.log(
  JSON.stringify({
    requestsPerSecond: load.requests / seconds,
    meanLatencyMicros: (waitedMs * 1000) / load.requests,
    bytes,
  }),
);

async function caller(session: ClientHttp2Session): Promise<void> {
  while (unsent > 0) {
    unsent--;
    const sent = performance.now();
    await call(session);
    waitedMs += performance.now() - sent;
  }
}

function call(session: ClientHttp2Session): Promise<void> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': load.path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.on('data', (chunk) => {
      bytes += chunk.length;
    });
    stream.once('error', reject);
    stream.once('close', resolve);
    stream.end(body);
  });
}
