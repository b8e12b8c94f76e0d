import test from 'ava';
import { RequestMemory } from '../../src/transport/request-memory.ts';

test('the limit can be reached and not be passed; what is given back can be taken again', (t) => {
  const memory = new RequestMemory(10);
  t.true(memory.take(4));
  t.true(memory.take(6));
  t.false(memory.take(1));
  t.is(memory.takenBytes, 10);
  memory.release(6);
  t.false(memory.take(7));
  t.true(memory.take(6));
  t.is(memory.takenBytes, 10);
});
