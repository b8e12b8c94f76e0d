import test from 'ava';
import { RequestMemory } from '../../src/transport/request-memory.ts';

const KIB = 1024;
const OWN = 16 * KIB;

test('a connection has 16 KiB of its own, whatever others hold', (t) => {
  const memory = new RequestMemory(0);
  const connections = [1, 1, 2].map((uid) => memory.connection(uid));
  for (const connection of connections) {
    t.true(connection.take(OWN));
    t.false(connection.take(1));
  }
  t.is(memory.takenBytes, 3 * OWN);
  for (const connection of connections) connection.release(OWN);
  t.is(memory.takenBytes, 0);
});

test('of the rest a uid may hold three quarters of what is free, and a connection three quarters of that', (t) => {
  const memory = new RequestMemory(1600 * KIB);
  const first = memory.connection(1);
  t.false(first.take(OWN + 900 * KIB + 1));
  t.true(first.take(OWN + 900 * KIB));
  t.false(first.take(1));
  const second = memory.connection(1);
  // 1,200 KiB for the uid, of which 900 are taken.
  t.false(second.take(OWN + 225 * KIB + 1));
  t.true(second.take(OWN + 225 * KIB));
  const other = memory.connection(2);
  t.true(other.take(OWN + 200 * KIB));
});

test('who holds all it can hurts itself: every other uid gets a message of the largest size through', (t) => {
  const memory = new RequestMemory(128 * 1024 * KIB);
  const message = 4 * 1024 * KIB;
  for (const uid of [1, 2]) {
    for (let opened = 0; opened < 256; opened++) {
      const connection = memory.connection(uid);
      while (connection.take(message));
      while (connection.take(KIB));
    }
  }
  t.true(memory.connection(3).take(message));
  t.true(memory.takenBytes < (128 + 2 * 4) * 1024 * KIB);
});

test('what is given back can be taken again, and nothing is left over', (t) => {
  const memory = new RequestMemory(100 * KIB);
  const connections = [1, 1, 2].map((uid) => memory.connection(uid));
  for (let round = 0; round < 3; round++) {
    const taken = connections.map((connection) => {
      let bytes = 0;
      while (connection.take(1000)) bytes += 1000;
      return bytes;
    });
    t.is(
      memory.takenBytes,
      taken.reduce((sum, bytes) => sum + bytes),
    );
    t.true(memory.takenBytes <= 100 * KIB + 3 * OWN);
    for (const [at, connection] of connections.entries()) {
      for (let bytes = taken[at]!; bytes > 0; bytes -= 500) connection.release(500);
    }
    t.is(memory.takenBytes, 0);
  }
});
