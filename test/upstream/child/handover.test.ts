import { writeSync } from 'node:fs';
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

test('of two that were left at once the newer one counts, and nothing piles up', (t) => {
  const both = ends(t);
  const handover = openHandover(both);
  for (const note of [1, 2]) writeSync(both.out, JSON.stringify(note));
  t.is(handover.read(), 2);
  for (let round = 0; round < 5_000; round++) handover.write({ round });
  t.deepEqual(handover.read(), { round: 4_999 });
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
