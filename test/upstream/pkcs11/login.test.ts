import { setTimeout } from 'node:timers/promises';
import type { UpstreamFailure } from '../../../src/upstream/failure.ts';
import { MEANINGS } from '../../../src/upstream/pkcs11/errors.ts';
import { fails } from '../../contract/upstream-contract.ts';
import { count, FRESH, hsmTest, KEK, PIN, settled, settledAs, World } from './world.ts';

hsmTest('a wrong PIN is tried once, and a new one at once', async (t) => {
  const world = await World.open(t);
  const wrapped = await world.roundTrips();
  world.writePin('wrong');
  world.hsm.control();
  for (let call = 0; call < 5; call++) {
    const failure = await fails(t, world.unwrap(wrapped, KEK, FRESH), 'unauthenticated');
    t.regex(failure!.message, /CKR_PIN_INCORRECT.* is not tried again before it is changed/);
    t.false(failure!.message.includes('wrong'));
  }
  t.deepEqual(count(world, 'C_Login'), [1]);
  world.writePin(PIN);
  await world.unwrap(wrapped, KEK, FRESH);
  t.deepEqual(count(world, 'C_Login'), [2]);
});

hsmTest('a PIN whose refusal comes later than the end of its child is tried once', async (t) => {
  const world = await World.open(t);
  const wrapped = await world.roundTrips();
  await world.upstream.close();
  world.writePin('wrong');
  await world.reopen();
  world.hsm.control('C_Login slow');
  const slow = () => world.unwrap(wrapped, KEK, { signal: AbortSignal.timeout(1_000) });
  await fails(t, slow(), 'unreachable');
  const failure = await settledAs(slow, 'unauthenticated');
  t.regex(failure.message, /a login with this PIN did not end/);
  t.deepEqual(count(world, 'C_Login'), [1]);
  world.hsm.control();
  world.writePin(PIN);
  await settled(() => world.unwrap(wrapped));
  await world.unwrap(wrapped, KEK, FRESH);
});

hsmTest('a wrong PIN is not tried again by a later child, one after a kill among them', async (t) => {
  const world = await World.open(t, { options: { maxCalls: 1 } });
  const wrapped = await world.roundTrips();
  world.writePin('wrong');
  world.hsm.control();
  const children = new Set<number>();
  const refused = async (): Promise<void> => {
    const call = world.unwrap(wrapped).catch((error: UpstreamFailure) => error);
    for (const pid of world.upstream.pids) children.add(pid);
    const failure = (await call) as UpstreamFailure;
    if (failure.class === 'unreachable') return setTimeout(100).then(refused);
    t.is(failure.class, 'unauthenticated');
    t.regex(failure.message, /CKR_PIN_INCORRECT.* is not tried again/);
  };
  for (let call = 0; call < 3; call++) await refused();
  const starting = world.unwrap(wrapped);
  process.kill(world.upstream.pids.at(-1)!, 'SIGKILL');
  await t.throwsAsync(starting);
  await refused();
  t.true(children.size >= 4, `${children.size} children`);
  t.deepEqual(count(world, 'C_Login'), [1]);
  world.writePin(PIN);
  await world.unwrap(wrapped);
});

for (const state of ['final-try', 'locked']) {
  hsmTest(`no PIN is tried at a token whose PIN is at ${state}`, async (t) => {
    const world = await World.open(t);
    world.hsm.control(`C_GetTokenInfo ${state}`);
    const failure = await fails(t, world.wrap(world.dek()), 'unauthenticated');
    t.regex(failure!.message, /^token hsm-a: (its PIN is locked|one more wrong PIN would lock it); /);
    t.deepEqual(count(world, 'C_Login'), [0]);
    world.hsm.control();
    await world.roundTrips();
  });
}

hsmTest('a session or login that is lost is replaced within the call', async (t) => {
  const world = await World.open(t);
  const wrapped = await world.roundTrips();
  for (const [code] of [...MEANINGS].filter(([, { first }]) => first === 'login')) {
    world.hsm.control(`C_DecryptInit ${code}!`);
    await world.unwrap(wrapped);
    t.deepEqual(count(world, 'C_DecryptInit', 'C_Login'), [2, 1], String(code));
  }
});

hsmTest('a confirming call logs in again; other calls do not', async (t) => {
  const world = await World.open(t);
  world.hsm.control();
  const wrapped = await world.roundTrips();
  await world.unwrap(wrapped);
  t.deepEqual(count(world, 'C_Login'), [1]);
  await world.unwrap(wrapped, KEK, FRESH);
  t.deepEqual(count(world, 'C_Login', 'C_GetTokenInfo').slice(0, 1), [2]);
});
