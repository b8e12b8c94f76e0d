import { readSync, writeSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { closeKeyChannel, openKeyChannel } from '../../../src/crypto/native.ts';
import { type HandoverEnds, openHandover } from '../../../src/upstream/child/handover.ts';

function ends(t: ExecutionContext): HandoverEnds {
  const { parent, child } = openKeyChannel();
  t.teardown(() => {
    for (const fd of [parent, child]) closeKeyChannel(fd);
  });
  return { in: parent, out: child };
}

/** The packet that waits, taken as a reader takes it. */
function drain(fd: number): Buffer {
  const bytes = Buffer.alloc(16_384);
  return bytes.subarray(0, readSync(fd, bytes));
}

test('what one child leaves, every later one reads, until it is written over', (t) => {
  const both = ends(t);
  const [first, second] = [openHandover(both), openHandover(both)];
  t.is(first.read(), undefined);
  first.write({ token: 'a' });
  for (const handover of [first, second, first]) t.deepEqual(handover.read(), { token: 'a' });
  second.write({ token: 'b' });
  t.deepEqual(first.read(), { token: 'b' });
  first.write(null);
  t.is(second.read(), null);
});

test('of two that were left at once the one written later counts, in whatever order they wait, and nothing piles up', (t) => {
  const both = ends(t);
  const handover = openHandover(both);
  for (const order of [
    [1, 2],
    [2, 1],
  ]) {
    for (const writtenAtMs of order) writeSync(both.out, JSON.stringify({ writtenAtMs, note: `at ${writtenAtMs}` }));
    t.is(handover.read(), 'at 2');
    t.is(handover.read(), 'at 2', 'the other one is gone');
    handover.write(null);
    t.is(handover.read(), null);
    drain(both.in);
  }
  for (let round = 0; round < 5_000; round++) handover.write({ round });
  t.deepEqual(handover.read(), { round: 4_999 });
});

test('a note that its reader puts back late does not take the place of one written meanwhile', (t) => {
  const both = ends(t);
  const [slow, quick] = [openHandover(both), openHandover(both)];
  slow.write('old');
  const old = drain(both.in);
  quick.write('new');
  writeSync(both.out, old);
  for (const handover of [slow, quick]) t.is(handover.read(), 'new');
});

test('a reader that finds nothing looks again, for another one may hold what was left', (t) => {
  const both = ends(t);
  openHandover(both).write('left');
  const held = drain(both.in);
  let waits = 0;
  const reader = openHandover(both, () => {
    if (++waits === 2) writeSync(both.out, held);
  });
  t.is(reader.read(), 'left');
  t.is(waits, 2);
  drain(both.in);
  t.is(reader.read(), undefined, 'not for ever');
});

test('what is no JSON, too long or nowhere is nothing', (t) => {
  const both = ends(t);
  const handover = openHandover(both);
  writeSync(both.out, '{"token":');
  t.is(handover.read(), undefined);
  handover.write('x'.repeat(20_000));
  t.is(handover.read(), undefined);
  const nowhere = openHandover({ in: 1_000_000, out: 1_000_000 });
  nowhere.write(1);
  t.is(nowhere.read(), undefined);
});
