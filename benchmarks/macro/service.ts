// A service on loopback for child-call.ts: each request is answered after so many milliseconds, in the size of a KMS's answer.
//   node service.ts PORT_FILE DELAY_MS
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const [portFile = '', delayMs = '0'] = process.argv.slice(2);
const body = JSON.stringify({ plaintext: 'x'.repeat(300) });
const server = createServer((_request, response) => {
  setTimeout(() => response.setHeader('content-type', 'application/json').end(body), Number(delayMs));
});
server.listen(0, '127.0.0.1', () => {
  writeFileSync(portFile, String((server.address() as AddressInfo).port));
  process.stdout.write('ready\n');
});
process.on('SIGTERM', () => process.exit(0));
