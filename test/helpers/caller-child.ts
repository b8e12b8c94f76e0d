// The other side of startCaller: everything is loaded as the user of the tests, then uid and groups change, then it connects.
import { once } from 'node:events';
import type { CallerCall, CallerSetup, CallOutcome } from './callers.ts';
import { createClient } from './client.ts';

const [{ caller, sockets }] = (await once(process, 'message')) as [CallerSetup];
const queue: CallerCall[] = [];
process.on('message', (call: CallerCall) => {
  queue.push(call);
  if (queue.length === 1) void answerAll();
});

process.setgroups?.([...(caller.groups ?? [])]);
process.setgid?.(caller.gid ?? caller.uid);
process.setuid?.(caller.uid);
const clients = new Map(Object.entries(sockets).map(([name, socket]) => [name, createClient(socket, name)]));
process.once('disconnect', () => {
  for (const client of clients.values()) client.close();
});

async function answerAll(): Promise<void> {
  for (let call = queue[0]; call !== undefined; call = queue[0]) {
    process.send?.(await outcomeOf(call));
    queue.shift();
  }
}

async function outcomeOf({ service, rpc, request }: CallerCall): Promise<CallOutcome> {
  const client = clients.get(service);
  if (client === undefined) throw new Error(`no socket for ${service}`);
  return client.outcome(rpc, request);
}
