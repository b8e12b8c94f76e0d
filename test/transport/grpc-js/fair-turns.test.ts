import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { FairTurns } from '../../../src/transport/grpc-js/fair-turns.ts';
import type { Work } from '../../../src/transport/grpc-js/share.ts';

function stubSocket(order: object[] = []) {
  const seen: string[] = [];
  const handle = {
    bytesRead: 0,
    writeQueueSize: 0,
    readStop: () => void seen.push('stop'),
    readStart: () => {
      seen.push('start');
      order.push(socket);
    },
  };
  const socket = Object.assign(new EventEmitter(), { _handle: handle }) as unknown as Socket;
  return { seen, handle, socket };
}

/** A clock that tests move. */
function stillTurns() {
  const clock = { nowMs: 0 };
  const turns = new FairTurns(() => clock.nowMs);
  /** A handler that takes so long. */
  const work = (done: string[], name: string, ms: number): Work => ({
    run: () => {
      done.push(name);
      clock.nowMs += ms;
    },
  });
  return { clock, turns, work };
}

async function someTurns(count: number): Promise<void> {
  for (let each = 0; each < count; each++) await turn();
}

test('64 streams of one uid in one turn stop all its connections until the next turn', async (t) => {
  const { turns } = stillTurns();
  const [a, b, other] = [stubSocket(), stubSocket(), stubSocket()];
  const closing = Object.assign(new EventEmitter(), { _handle: null }) as unknown as Socket;
  const gone = stubSocket();
  for (const socket of [a.socket, closing, b.socket, gone.socket]) turns.add(1, socket);
  gone.socket.emit('close');
  turns.add(2, other.socket);
  for (let call = 0; call < 63; call++) t.is(turns.begin(1, a.socket), 'now');
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
  const { turns } = stillTurns();
  const order: object[] = [];
  const [busy, starved] = [stubSocket(order), stubSocket(order)];
  for (const { socket } of [busy, starved]) turns.add(1, socket);
  for (let call = 0; call < 64; call++) turns.begin(1, busy.socket);
  await turn();
  t.deepEqual(order, [starved.socket, busy.socket]);
});

test('a connection that node:http2 reads from though it rests is stopped at each stream', async (t) => {
  const { turns } = stillTurns();
  const { seen, socket } = stubSocket();
  turns.add(1, socket);
  for (let call = 0; call < 66; call++) turns.begin(1, socket);
  t.deepEqual(seen, ['stop', 'stop', 'stop']);
  await turn();
  t.deepEqual(seen, ['stop', 'stop', 'stop', 'start']);
});

test('a connection whose answers the kernel does not take is left to node:http2', async (t) => {
  const { turns } = stillTurns();
  const { handle, seen, socket } = stubSocket();
  turns.add(1, socket);
  for (let call = 0; call < 64; call++) turns.begin(1, socket);
  handle.writeQueueSize = 1;
  await turn();
  t.deepEqual(seen, ['stop']);
});

test('a connection that begins more than 128 streams in one turn is misused', async (t) => {
  const { turns } = stillTurns();
  const [a, b] = [stubSocket(), stubSocket()];
  for (const { socket } of [a, b]) turns.add(1, socket);
  for (let call = 0; call < 128; call++) {
    t.not(turns.begin(1, a.socket), 'never');
    t.not(turns.begin(1, b.socket), 'never');
  }
  t.is(turns.begin(1, a.socket), 'never');
  await turn();
  t.is(turns.begin(1, a.socket), 'now');
});

test('a uid whose handlers took 5 ms waits, with what it has sent, until the others had their turn', async (t) => {
  const { turns, work } = stillTurns();
  const done: string[] = [];
  const [costly, cheap] = [stubSocket(), stubSocket()];
  turns.add(1, costly.socket);
  turns.add(2, cheap.socket);
  turns.begin(1, costly.socket);
  for (const name of ['a', 'b', 'c']) turns.run(1, work(done, name, 6));
  t.deepEqual(done, ['a']);
  t.deepEqual(costly.seen, ['stop']);
  turns.begin(2, cheap.socket);
  turns.run(2, work(done, 'other', 0));
  t.deepEqual(done, ['a', 'other']);
  t.deepEqual(cheap.seen, []);
});

test('a uid that is alone owes nothing: what it has sent is worked off turn by turn', async (t) => {
  const { turns, work } = stillTurns();
  const done: string[] = [];
  const { seen, socket } = stubSocket();
  turns.add(1, socket);
  turns.begin(1, socket);
  for (const name of ['a', 'b', 'c']) turns.run(1, work(done, name, 50));
  t.is(turns.begin(1, socket), 'later');
  turns.wait(1, [work(done, 'stream', 0)]);
  turns.postpone(1, work(done, 'd', 0));
  t.deepEqual(done, ['a']);
  await turn();
  t.deepEqual(done, ['a', 'b']);
  t.false(seen.includes('start'));
  await someTurns(2);
  // Requests before streams.
  t.deepEqual(done, ['a', 'b', 'c', 'd', 'stream']);
  await turn();
  t.is(seen.at(-1), 'start');
});

/** Two uids that have called, so that each knows of the other. */
async function contended(socketsOfHeavy = 1) {
  const { clock, turns, work } = stillTurns();
  const order: object[] = [];
  const heavy = Array.from({ length: socketsOfHeavy }, () => stubSocket(order));
  const light = stubSocket();
  for (const { socket } of heavy) turns.add(1, socket);
  turns.add(2, light.socket);
  turns.begin(1, heavy[0]!.socket);
  turns.begin(2, light.socket);
  await turn();
  return { clock, turns, work, order, heavy, light };
}

test('while others call, who took more than its part waits until it has paid back; who took little does not', async (t) => {
  const { clock, turns, work, heavy, light } = await contended();
  const done: string[] = [];
  turns.begin(1, heavy[0]!.socket);
  turns.run(1, work(done, 'long', 20));
  turns.run(1, work(done, 'next', 0));
  t.deepEqual(done, ['long']);
  await delay(60);
  // The clock stands still, and nothing is paid back.
  t.deepEqual(done, ['long']);
  t.is(turns.begin(1, heavy[0]!.socket), 'later');
  t.is(turns.begin(2, light.socket), 'now');
  turns.run(2, work(done, 'light', 0));
  t.deepEqual(done, ['long', 'light']);
  // 15 ms above what is free, at half of the time.
  clock.nowMs += 28;
  await delay(60);
  t.deepEqual(done, ['long', 'light']);
  clock.nowMs += 4;
  for (let tries = 0; tries < 100 && done.length < 3; tries++) await delay(10);
  t.deepEqual(done, ['long', 'light', 'next']);
});

test('when the others have gone, nobody waits any longer', async (t) => {
  const { clock, turns, work, heavy } = await contended();
  const done: string[] = [];
  turns.begin(1, heavy[0]!.socket);
  turns.run(1, work(done, 'long', 2_000));
  turns.run(1, work(done, 'next', 0));
  clock.nowMs += 1;
  for (let tries = 0; tries < 100 && done.length < 2; tries++) await delay(10);
  t.deepEqual(done, ['long', 'next']);
});

test('at the end of the server nobody waits any longer', async (t) => {
  const { turns, work, heavy } = await contended();
  const done: string[] = [];
  turns.begin(1, heavy[0]!.socket);
  turns.run(1, work(done, 'long', 20));
  turns.run(1, work(done, 'next', 0));
  await someTurns(3);
  t.deepEqual(done, ['long']);
  turns.end();
  t.deepEqual(done, ['long', 'next']);
  t.is(turns.begin(1, heavy[0]!.socket), 'now');
});

test('who waited is read from one connection after the other, then from twice as many each turn', async (t) => {
  const { clock, turns, work, order, heavy } = await contended(6);
  turns.begin(1, heavy[0]!.socket);
  turns.run(1, work([], 'long', 20));
  await turn();
  t.true(heavy.every(({ seen }) => seen.at(-1) === 'stop'));
  clock.nowMs += 40;
  for (let tries = 0; tries < 100 && order.length === 0; tries++) await delay(5);
  await someTurns(8);
  t.is(order.length, 6);
  // The one that was served is the last.
  t.is(order[5], heavy[0]!.socket);
});

test('a uid is charged for what never becomes a stream, by its bytes', async (t) => {
  const { clock, turns, heavy, light } = await contended(2);
  for (let flood = 0; flood < 10; flood++) {
    // Of this turn nothing came to JavaScript but a call of somebody else.
    turns.begin(2, light.socket);
    for (const { handle } of heavy) handle.bytesRead += 2_000_000;
    clock.nowMs += 8;
    await turn();
  }
  t.true(heavy.every(({ seen }) => seen.includes('stop')));
  t.deepEqual(light.seen, []);
});

test('what a uid brought in its own short turns does not weigh in a long turn of another', async (t) => {
  const { clock, turns, heavy, light } = await contended();
  for (let call = 0; call < 500; call++) {
    light.handle.bytesRead += 65_536;
    turns.begin(2, light.socket);
    clock.nowMs += 0.1;
    await turn();
    clock.nowMs += 9.9;
  }
  turns.begin(1, heavy[0]!.socket);
  turns.begin(2, light.socket);
  heavy[0]!.handle.bytesRead += 4_000_000;
  clock.nowMs += 8;
  await turn();
  t.deepEqual(light.seen, []);
  t.deepEqual(heavy[0]!.seen, ['stop']);
});

test('a connection that comes while its uid waits is not read from', async (t) => {
  const { turns, work, heavy } = await contended();
  turns.begin(1, heavy[0]!.socket);
  turns.run(1, work([], 'long', 20));
  await turn();
  const late = stubSocket();
  turns.add(1, late.socket);
  t.deepEqual(late.seen, ['stop']);
});

test('uids that are gone are forgotten, and those that are not are not', async (t) => {
  const { turns } = stillTurns();
  const stays = stubSocket();
  turns.add(0, stays.socket);
  for (let uid = 1; uid < 1_000; uid++) {
    const { socket } = stubSocket();
    turns.add(uid, socket);
    t.is(turns.begin(uid, socket), 'now');
    socket.emit('close');
    if (uid % 10 === 0) await turn();
  }
  for (let call = 0; call < 64; call++) turns.begin(0, stays.socket);
  t.deepEqual(stays.seen, ['stop']);
});
