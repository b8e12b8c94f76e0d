import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import test from 'ava';
import { Refusals } from '../../../src/transport/grpc-js/refusals.ts';

function stubSocket(): Socket {
  const socket = Object.assign(new EventEmitter(), {
    _handle: { readStop: () => {} },
    destroyed: false,
    destroy() {
      socket.destroyed = true;
      socket.emit('close');
    },
  });
  return socket as unknown as Socket;
}

const ended = (sockets: readonly Socket[]) => sockets.filter(({ destroyed }) => destroyed).length;
const some = (count: number) => Array.from({ length: count }, stubSocket);

test('a burst is refused at once, what is more later, another uid is not concerned, and close ends all', (t) => {
  const refusals = new Refusals(() => 0);
  const sockets = some(100);
  for (const socket of sockets) refusals.refuse(socket, 1);
  t.is(ended(sockets), 64);
  const other = stubSocket();
  refusals.refuse(other, 2);
  t.true(other.destroyed);
  // Its peer went away.
  sockets[99]!.emit('close');
  refusals.close();
  t.is(ended(sockets), 99);
});

test('who is refused again and again waits a second at most', async (t) => {
  const refusals = new Refusals(() => 0);
  const sockets = some(200);
  const gone = Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve))));
  for (const socket of sockets) refusals.refuse(socket, 1);
  t.is(ended(sockets), 64);
  await gone;
  t.is(ended(sockets), 200);
});

test('no more than 1,024 are held', (t) => {
  const refusals = new Refusals(() => 0);
  const sockets = some(64 + 1_024 + 10);
  for (const socket of sockets) refusals.refuse(socket, 1);
  t.is(ended(sockets), 64 + 10);
  refusals.close();
});
