import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { fails } from '../../contract/upstream-contract.ts';
import type { Command } from '../../counterparts/softhsm/start.ts';
import { ALL, count, FRESH, hsmTest, KEK, PIN, settled, TOKEN, World } from './world.ts';

hsmTest('a token that goes away is unreachable, and serves when it is back', async (t) => {
  const world = await World.open(t);
  const wrapped = await world.roundTrips();
  const away = join(world.hsm.directory, 'away');
  renameSync(world.tokenDirectory, away);
  for (let call = 0; call < 3; call++) {
    await fails(t, world.unwrap(wrapped), 'unreachable');
    await fails(t, world.describe(), 'unreachable');
  }
  renameSync(away, world.tokenDirectory);
  await world.unwrap(wrapped);
  await world.roundTrips();
});

hsmTest('tokens of a cluster serve for each other', async (t) => {
  const key: Command = { do: 'import', label: 'orders', value: 'ab'.repeat(32), allows: ALL };
  const world = await World.open(t, { options: { tokens: [TOKEN, 'hsm-b'] }, commands: [key] });
  const other = world.hsm.initialize('hsm-b', PIN);
  world.hsm.administer('hsm-b', PIN, key);
  const kek = 'pkcs11:object=orders';
  const wrapped = await world.roundTrips(kek);
  const away = join(world.hsm.directory, 'away');
  renameSync(world.tokenDirectory, away);
  await world.unwrap(wrapped, kek);
  renameSync(away, world.tokenDirectory);
  renameSync(other, away);
  // SoftHSM sees that a token is back only once it is initialized again, which a call that found none brings about.
  await settled(() => world.unwrap(wrapped, kek));
  await world.roundTrips(kek);
});

hsmTest('a KEK that names its token is asked there and nowhere else', async (t) => {
  const key = (value: string): Command => ({ do: 'import', label: 'orders', value: value.repeat(32), allows: ALL });
  const world = await World.open(t, { options: { tokens: [TOKEN, 'hsm-b'] }, commands: [key('aa')] });
  world.hsm.initialize('hsm-b', PIN);
  world.hsm.administer('hsm-b', PIN, key('bb'));
  await world.reopen();
  const there = 'pkcs11:object=orders;token=hsm-b';
  const [here, other] = [await world.roundTrips(), await world.roundTrips(there)];
  await fails(t, world.unwrap(other), 'invalid');
  await fails(t, world.unwrap(here, there), 'invalid');
  t.deepEqual([...(await world.describe(there)).labels].at(0), ['token', 'hsm-b']);
  world.hsm.administer('hsm-b', PIN, { do: 'destroy', label: 'orders' });
  const { message } = (await fails(t, world.unwrap(other, there, FRESH), 'refused', 'kek'))!;
  t.is(message, `${there}: there is no such key on the token hsm-b`);
});

hsmTest('a key that is not on every token is missing when all of them say so, and none is away', async (t) => {
  const world = await World.open(t, { options: { tokens: [TOKEN, 'hsm-b'] } });
  world.hsm.initialize('hsm-b', PIN);
  const kek = 'pkcs11:object=orders';
  let wrapped = await world.roundTrips(kek);
  // Each child begins at a random one.
  for (let child = 0; child < 4; child++) {
    await world.reopen();
    await world.unwrap(wrapped, kek);
    t.is((await world.describe(kek)).state, 'active');
    wrapped = await world.roundTrips(kek);
  }
  const away = join(world.hsm.directory, 'away');
  renameSync(world.tokenDirectory, away);
  for (const options of [undefined, FRESH, FRESH]) {
    await fails(t, world.unwrap(wrapped, kek, options), 'unreachable');
  }
  await world.reopen();
  const { message } = (await fails(t, world.unwrap(wrapped, kek, FRESH), 'unreachable'))!;
  t.is(message, `${kek}: there is no such key on hsm-b, and no token hsm-a is present`);
  renameSync(away, world.tokenDirectory);
  await settled(() => world.unwrap(wrapped, kek));

  world.administer({ do: 'destroy', label: 'orders' });
  const refusal = (await fails(t, world.unwrap(wrapped, kek, FRESH), 'refused', 'kek'))!;
  t.is(refusal.condition, 'missing');
  t.regex(refusal.message, /^pkcs11:object=orders: there is no such key on hsm-[ab], hsm-[ab]$/);
});

hsmTest('a token has one login, however KEKs name it', async (t) => {
  const world = await World.open(t, { options: { tokens: [TOKEN] } });
  world.hsm.control();
  const wrapped = await world.roundTrips('pkcs11:object=orders');
  await world.unwrap(wrapped);
  t.deepEqual(count(world, 'C_Login'), [1]);
  await world.unwrap(wrapped, KEK, FRESH);
  t.deepEqual(count(world, 'C_Login'), [2]);
});

hsmTest('a library that crashes or hangs costs its process and nothing else', async (t) => {
  const world = await World.open(t);
  const wrapped = await world.roundTrips();
  world.hsm.control('C_Decrypt crash');
  await fails(t, world.unwrap(wrapped), 'unreachable');
  world.hsm.control('C_GetInfo crash');
  await fails(
    t,
    settled(() => world.unwrap(wrapped), 1_500),
    'unreachable',
  );
  world.hsm.control('C_Decrypt hang');
  await fails(
    t,
    settled(() => world.unwrap(wrapped, KEK, { signal: AbortSignal.timeout(500) }), 3_000),
    'unreachable',
  );
  world.hsm.control();
  await settled(() => world.unwrap(wrapped));
});
