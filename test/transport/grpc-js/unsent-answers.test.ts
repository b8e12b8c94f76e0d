import test from 'ava';
import type { Work } from '../../../src/transport/grpc-js/share.ts';
import { UnsentAnswers } from '../../../src/transport/grpc-js/unsent-answers.ts';
import { RequestMemory } from '../../../src/transport/request-memory.ts';

const KIB = 1024;
const work = (): Work => ({ run: () => {} });

test('from 256 KiB on calls wait; what waited is tried again once there is less', (t) => {
  const resumed: Work[][] = [];
  const requests = new RequestMemory(2 ** 30);
  const memory = requests.connection(1);
  const answers = new UnsentAnswers(memory, (held) => void resumed.push([...held]));
  t.true(answers.add(255 * KIB));
  t.false(answers.full);
  t.true(answers.add(10 * KIB));
  t.true(answers.full);
  const held = [work(), work()];
  for (const each of held) answers.hold(each);
  answers.remove(9 * KIB);
  t.deepEqual(resumed, []);
  answers.remove(KIB);
  t.deepEqual(resumed, [held]);
  answers.remove(255 * KIB);
  t.is(resumed.length, 1);
  t.is(requests.takenBytes, 0);
});

test('what was dropped is not tried again; at the end nothing waits', (t) => {
  const resumed: Work[] = [];
  const answers = new UnsentAnswers(new RequestMemory(2 ** 30).connection(1), (held) => void resumed.push(...held));
  answers.add(300 * KIB);
  const [gone, stays] = [work(), work()];
  for (const each of [gone, stays]) answers.hold(each);
  answers.drop(gone);
  answers.end();
  t.deepEqual(resumed, [stays]);
  t.is(resumed[0], stays);
  t.false(answers.full);
});

test('answers take of the memory that requests have; what does not fit is not added', (t) => {
  const requests = new RequestMemory(0);
  const memory = requests.connection(1);
  const answers = new UnsentAnswers(memory, () => {});
  t.true(memory.take(10 * KIB));
  t.true(answers.add(6 * KIB));
  t.false(answers.add(1));
  t.is(requests.takenBytes, 16 * KIB);
  answers.remove(6 * KIB);
  t.true(answers.add(1));
});
