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
  const socket = { _handle: handle } as unknown as Socket;
  return { seen, socket };
}

test('64 calls of one uid in one turn stop all its connections until the next turn', async (t) => {
  const turns = new FairTurns();
  const [a, b, other] = [stubSocket(), stubSocket(), stubSocket()];
  const closed = { _handle: null } as unknown as Socket;
  const mine = [a.socket, closed, b.socket];
  for (let call = 0; call < 63; call++) turns.begin(1, a.socket, mine);
  for (let call = 0; call < 63; call++) turns.begin(2, other.socket, [other.socket]);
  t.deepEqual([a.seen, b.seen], [[], []]);
  turns.begin(1, a.socket, mine);
  t.deepEqual([a.seen, b.seen], [['stop'], ['stop']]);
  await turn();
  t.deepEqual(
    [a.seen, b.seen],
    [
      ['stop', 'start'],
      ['stop', 'start'],
    ],
  );
  turns.begin(2, other.socket, [other.socket]);
  t.deepEqual(other.seen, []);
  await turn();
  t.deepEqual([a.seen, other.seen], [['stop', 'start'], []]);
});

test('whoever was not served comes first in the next turn', async (t) => {
  const turns = new FairTurns();
  const order: object[] = [];
  const [busy, starved] = [stubSocket(order), stubSocket(order)];
  for (let call = 0; call < 64; call++) turns.begin(1, busy.socket, [busy.socket, starved.socket]);
  await turn();
  t.deepEqual(order, [starved.socket, busy.socket]);
});

test('each 64 more stop them again, and they start once', async (t) => {
  const turns = new FairTurns();
  const { seen, socket } = stubSocket();
  for (let call = 0; call < 128; call++) turns.begin(1, socket, [socket]);
  t.deepEqual(seen, ['stop', 'stop']);
  await turn();
  t.deepEqual(seen, ['stop', 'stop', 'start']);
});
