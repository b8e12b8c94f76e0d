import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { fails } from '../../contract/upstream-contract.ts';
import type { Command } from '../../counterparts/softhsm/start.ts';
import { ALL, hsmTest, KEK, PIN, settled, TOKEN, World } from './world.ts';

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
