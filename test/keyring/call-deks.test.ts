import test from 'ava';
import { CallDeks } from '../../src/keyring/call-deks.ts';
import type { Dek } from '../../src/keyring/dek.ts';

const waiter = { signal: new AbortController().signal, principal: { uid: 1000 } };

function fakeDek(): { dek: Dek; freed: () => boolean } {
  let freed = false;
  const dek = {
    free: () => {
      freed = true;
    },
  } as unknown as Dek;
  return { dek, freed: () => freed };
}

test('one DEK for a name, for as long as the call lasts', async (t) => {
  const deks = new CallDeks();
  const made: ReturnType<typeof fakeDek>[] = [];
  const make = async (): Promise<Dek> => {
    const one = fakeDek();
    made.push(one);
    return one.dek;
  };
  const used = await Promise.all(['a', 'a', 'b'].map((name) => deks.use(name, make, waiter, (dek) => dek)));
  t.is(made.length, 2);
  t.is(used[0], used[1]);
  t.not(used[0], used[2]);
  t.deepEqual(
    made.map((one) => one.freed()),
    [false, false],
  );
  deks.release();
  await Promise.resolve();
  t.deepEqual(
    made.map((one) => one.freed()),
    [true, true],
  );
});

test('one that comes after the release is zeroed; a failure is everybody’s', async (t) => {
  const deks = new CallDeks();
  const late = fakeDek();
  const { promise, resolve } = Promise.withResolvers<Dek>();
  const using = deks.use(
    'late',
    () => promise,
    waiter,
    () => 'used',
  );
  deks.release();
  resolve(late.dek);
  t.is(await using, 'used');
  await Promise.resolve();
  t.true(late.freed());
  const fail = (): Promise<Dek> => Promise.reject(new Error('no DEK'));
  await t.throwsAsync(
    deks.use('bad', fail, waiter, () => 0),
    { message: 'no DEK' },
  );
  await t.throwsAsync(
    deks.use(
      'bad',
      () => t.fail() as never,
      waiter,
      () => 0,
    ),
    { message: 'no DEK' },
  );
  deks.release();
});
