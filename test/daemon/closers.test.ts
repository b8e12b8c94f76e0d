import test from 'ava';
import { Closers } from '../../src/daemon/closers.ts';
import { createLogger } from '../../src/telemetry/logger.ts';

test('all are closed, the last first and each once, though one throws and one rejects', async (t) => {
  const closers = new Closers(createLogger('silent'));
  const closed: number[] = [];
  closers.add(() => void closed.push(1));
  closers.add(() => {
    closed.push(2);
    throw new Error('two');
  });
  closers.add(async () => {
    closed.push(3);
    throw new Error('three');
  });
  closers.add(async () => void closed.push(4));
  const failures = await closers.closeAll();
  t.deepEqual(closed, [4, 3, 2, 1]);
  t.deepEqual(
    failures.map((error) => (error.cause as Error).message),
    ['three', 'two'],
  );
  t.deepEqual(await closers.closeAll(), []);
  t.is(closed.length, 4);
});
