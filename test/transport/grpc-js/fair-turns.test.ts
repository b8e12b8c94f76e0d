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

/** A handler that takes so long. */
function work(name: string, ms: number, done: string[]) {
  return {
    run: () => {
      done.push(name);
      const endMs = performance.now() + ms;
      while (performance.now() < endMs);
    },
  };
}

test('a uid whose handlers took 5 ms waits, with what it has sent, until the others had their turn', async (t) => {
  const turns = new FairTurns();
  const done: string[] = [];
  const [costly, cheap] = [stubSocket(), stubSocket()];
  turns.add(1, costly.socket);
  turns.add(2, cheap.socket);
  const share = turns.begin(1, costly.socket);
  for (const name of ['a', 'b', 'c']) turns.run(share, work(name, 6, done));
  t.deepEqual(done, ['a']);
  t.deepEqual([...new Set(costly.seen)], ['stop']);
  turns.run(turns.begin(2, cheap.socket), work('other', 0, done));
  t.deepEqual(done, ['a', 'other']);
  t.deepEqual(cheap.seen, []);
  await turn();
  t.deepEqual(done, ['a', 'other', 'b']);
  t.false(costly.seen.includes('start'));
  // What comes meanwhile does not overtake.
  turns.run(share, work('d', 0, done));
  for (let count = 0; count < 3; count++) await turn();
  t.deepEqual(done, ['a', 'other', 'b', 'c', 'd']);
  t.is(costly.seen.at(-1), 'start');
  t.is(costly.seen.filter((seen) => seen === 'start').length, 1);
});
