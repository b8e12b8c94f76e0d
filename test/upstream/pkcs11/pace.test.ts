import test from 'ava';
import { Pace } from '../../../src/upstream/pkcs11/pace.ts';

/** A token that takes as long as it is told to, and in which thread it was asked. */
function token() {
  let nowMs = 0;
  const asked: ('here' | 'elsewhere')[] = [];
  const pace = new Pace(() => nowMs);
  const answer = (thread: 'here' | 'elsewhere', ms: number, fault?: Error): string => {
    asked.push(thread);
    nowMs += ms;
    if (fault !== undefined) throw fault;
    return thread;
  };
  const call = (ms: number, fault?: Error): Promise<string> =>
    pace.call(
      [],
      () => answer('here', ms, fault),
      async () => answer('elsewhere', ms, fault),
    );
  return { asked, call };
}

test('a token is asked in this thread once eight answers in a row were quick', async (t) => {
  const { asked, call } = token();
  for (let made = 0; made < 10; made++) await call(0.1);
  t.deepEqual(asked, [...new Array(8).fill('elsewhere'), 'here', 'here']);
});

test('one slow answer, a failure too, sends the next calls to other threads', async (t) => {
  for (const fault of [undefined, new Error('CKR_DEVICE_ERROR:48')]) {
    const { asked, call } = token();
    for (let made = 0; made < 9; made++) await call(0.1);
    t.is(asked.at(-1), 'here');
    await (fault === undefined ? call(20) : t.throwsAsync(call(20, fault), { is: fault }));
    for (let made = 0; made < 8; made++) {
      await call(0.1);
      t.is(asked.at(-1), 'elsewhere');
    }
    await call(0.1);
    t.is(asked.at(-1), 'here');
  }
});

test('a token whose answers take a quarter of a millisecond or more is never asked in this thread', async (t) => {
  const { asked, call } = token();
  for (let made = 0; made < 20; made++) await call(0.25);
  t.false(asked.includes('here'));
});
