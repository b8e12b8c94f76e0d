// `node good-client-child.ts UID SOCKET`: becomes that user, connects, and on each message { forMs } makes calls for so long: one after
// the other on a connection that stays and, with { newConnections }, each 100 ms one on a new connection. Answers with what came of them.
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient, type DekdClient } from '../helpers/client.ts';
import type { Experience, Wish } from './bad-clients.ts';

const SERVICE = 'dekd.v1.KeyAgent';
const PLAINTEXT = Buffer.alloc(256, 'good');
const NEWCOMER_EVERY_MS = 100;
const BETWEEN_CALLS_MS = 2;

const [uid, socket = ''] = process.argv.slice(2);
process.setgroups?.([]);
process.setgid?.(Number(uid));
process.setuid?.(Number(uid));
process.once('disconnect', () => process.exit());
const client = createClient(socket, SERVICE);
await roundTrip(client);
process.on('message', (wish: Wish) => {
  void experience(wish).then((experienced) => process.send?.(experienced));
});
process.send?.('connected');

async function experience({ forMs, newConnections }: Wish): Promise<Experience> {
  const endMs = performance.now() + forMs;
  const errors: string[] = [];
  const latenciesMs: number[] = [];
  const calls = async () => {
    while (performance.now() < endMs) {
      const startMs = performance.now();
      await roundTrip(client).catch((error: unknown) => errors.push(String(error)));
      latenciesMs.push(performance.now() - startMs);
      await sleep(BETWEEN_CALLS_MS);
    }
  };
  let newcomers = 0;
  const comeAnew = async () => {
    while (performance.now() < endMs) {
      const newcomer = createClient(socket, SERVICE);
      await roundTrip(newcomer).catch((error: unknown) => errors.push(`on a new connection: ${error}`));
      newcomer.close();
      newcomers++;
      await sleep(NEWCOMER_EVERY_MS);
    }
  };
  await Promise.all([calls(), newConnections ? comeAnew() : undefined]);
  return { errors, latenciesMs, newcomers };
}

/** Encrypt and Decrypt; an answer that is wrong is an error as well. */
async function roundTrip(through: DekdClient): Promise<void> {
  const { message } = await through.call('Encrypt', { key: 'default', plaintext: PLAINTEXT });
  const opened = await through.call('Decrypt', { ciphertext: message.ciphertext });
  if (!PLAINTEXT.equals(opened.message.plaintext)) throw new Error('another plaintext came back');
}
