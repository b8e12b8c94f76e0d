// A client that is somebody else: everything is loaded as the user of the tests, then uid and groups change, then it connects.
// Reads a CallerTask from standard input, writes a CallOutcome[] to standard output.

import type { CallerTask, CallOutcome } from './call-as.ts';
import { createClient } from './client.ts';

const chunks: Buffer[] = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const revive = (_name: string, value: unknown): unknown => (isBuffer(value) ? Buffer.from(value.data) : value);
const { caller, socket, service, calls } = JSON.parse(Buffer.concat(chunks).toString(), revive) as CallerTask;

process.setgroups?.([...(caller.groups ?? [])]);
process.setgid?.(caller.gid ?? caller.uid);
process.setuid?.(caller.uid);

const client = createClient(socket, service);
const outcomes: CallOutcome[] = [];
for (const [rpc, request] of calls) outcomes.push(await client.outcome(rpc, request));
client.close();
process.stdout.write(JSON.stringify(outcomes));

function isBuffer(value: unknown): value is { data: number[] } {
  return typeof value === 'object' && value !== null && 'type' in value && value.type === 'Buffer';
}
