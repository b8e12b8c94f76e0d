import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { FairTurns } from '../../../src/transport/grpc-js/fair-turns.ts';

function stubSocket(order: object[] = []) {
  const seen: string[] = [];
  const handle = {
    readStop: () => void seen.push('stop'),
    readStart: () => {
      seen.push('start');
      order.push(socket);
    },
  };
  const socket = Object.assign(new EventEmitter(), { _handle: handle }) as unknown as Socket;
  return { seen, socket };
}

test('64 calls of one uid in one turn stop all its connections until the next turn', async (t) => {
  const turns = new FairTurns();
  const [a, b, other] = [stubSocket(), stubSocket(), stubSocket()];
  const closing = Object.assign(new EventEmitter(), { _handle: null }) as unknown as Socket;
  const gone = stubSocket();
  for (const socket of [a.socket, closing, b.socket, gone.socket]) turns.add(1, socket);
  gone.socket.emit('close');
  turns.add(2, other.socket);
  for (let call = 0; call < 63; call++) turns.begin(1, a.socket);
  for (let call = 0; call < 63; call++) turns.begin(2, other.socket);
  t.deepEqual([a.seen, b.seen], [[], []]);
  turns.begin(1, a.socket);
  t.deepEqual([a.seen, b.seen], [['stop'], ['stop']]);
  await turn();
  t.deepEqual(
    [a.seen, b.seen],
    [
      ['stop', 'start'],
      ['stop', 'start'],
    ],
  );
  turns.begin(2, other.socket);
  t.deepEqual(other.seen, []);
  await turn();
  t.deepEqual([a.seen, other.seen, gone.seen], [['stop', 'start'], [], []]);
});

test('whoever was not served comes first in the next turn', async (t) => {
  const turns = new FairTurns();
  const order: object[] = [];
  const [busy, starved] = [stubSocket(order), stubSocket(order)];
  for (const { socket } of [busy, starved]) turns.add(1, socket);
  for (let call = 0; call < 64; call++) turns.begin(1, busy.socket);
  await turn();
  t.deepEqual(order, [starved.socket, busy.socket]);
});

test('each 64 more stop them again, and they start once', async (t) => {
  const turns = new FairTurns();
  const { seen, socket } = stubSocket();
  turns.add(1, socket);
  for (let call = 0; call < 128; call++) turns.begin(1, socket);
  t.deepEqual(seen, ['stop', 'stop']);
  await turn();
  t.deepEqual(seen, ['stop', 'stop', 'start']);
});
