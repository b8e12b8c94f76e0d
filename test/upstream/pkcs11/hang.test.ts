import { setTimeout } from 'node:timers/promises';
import { fails } from '../../contract/upstream-contract.ts';
import type { Command } from '../../counterparts/softhsm/start.ts';
import { ALL, FRESH, hsmTest, KEK, PIN, settled, World } from './world.ts';

// Calls that the library does not end. They are given up as the agent gives them up: after a time.

const PATIENCE_MS = 300;

function given(patienceMs = PATIENCE_MS): { signal: AbortSignal } {
  return { signal: AbortSignal.timeout(patienceMs) };
}

hsmTest('a call that hangs stops no other', async (t) => {
  const world = await World.open(t, { options: { maxSessions: 2 } });
  const wrapped = await world.roundTrips();
  const { pids } = world.upstream;
  world.hsm.control('C_Decrypt hang!', 'C_Decrypt wait-2');
  const hanging = world.unwrap(wrapped, KEK, given());
  for (let call = 0; call < 20; call++) await world.unwrap(wrapped);
  await fails(t, hanging, 'unreachable');
  for (const endMs = performance.now() + 6_000; performance.now() < endMs; await setTimeout(100)) {
    await world.unwrap(wrapped);
    await world.roundTrips();
  }
  t.deepEqual(world.upstream.pids, pids);
  t.deepEqual(world.warnings, []);
});

hsmTest('when every session is held by a call that hangs, the child ends and another one serves', async (t) => {
  const world = await World.open(t, { options: { maxSessions: 2 } });
  const wrapped = await world.roundTrips();
  const [pid] = world.upstream.pids;
  world.hsm.control('C_Decrypt hang');
  const calls = Array.from({ length: 6 }, () => fails(t, world.unwrap(wrapped, KEK, given()), 'unreachable'));
  await Promise.all(calls);
  t.deepEqual(world.upstream.pids, [pid], 'they may be slow, and no more than that');
  world.hsm.control();
  await settled(() => world.unwrap(wrapped, KEK, given()), 20_000);
  t.false(world.upstream.pids.includes(pid!));
  t.true(
    world.warnings.some((warning) =>
      warning.endsWith(
        'token hsm-a: a call of its PKCS#11 library does not return, and no token serves: the process ends',
      ),
    ),
    world.warnings.join('\n'),
  );
});

hsmTest('an HSM that answers too late is an outage, and ends no child', async (t) => {
  const world = await World.open(t, { options: { maxSessions: 2 } });
  const wrapped = await world.roundTrips();
  const { pids } = world.upstream;
  world.hsm.control('C_Decrypt slow');
  for (let round = 0; round < 4; round++) {
    const calls = Array.from({ length: 4 }, () => fails(t, world.unwrap(wrapped, KEK, given(1_000)), 'unreachable'));
    await Promise.all(calls);
  }
  world.hsm.control();
  await settled(() => world.unwrap(wrapped, KEK, given()));
  t.deepEqual(world.upstream.pids, pids);
  t.deepEqual(world.warnings, []);
});

hsmTest('a call that begins to hang where calls are made in one thread costs the child', async (t) => {
  const world = await World.open(t);
  const wrapped = await world.roundTrips();
  world.hsm.control('C_DecryptInit hang');
  await fails(t, world.unwrap(wrapped, KEK, given()), 'unreachable');
  world.hsm.control();
  await settled(() => world.unwrap(wrapped));
  t.true(world.warnings.some((warning) => warning.includes('it hung: no answer to a cancel')));
});

hsmTest('beside a call that hangs no confirmation is had from this child, but from the next', async (t) => {
  const world = await World.open(t);
  const wrapped = await world.roundTrips();
  const [pid] = world.upstream.pids;
  world.hsm.control('C_Decrypt hang!', 'C_Decrypt wait-2');
  await fails(t, world.unwrap(wrapped, KEK, given()), 'unreachable');
  await fails(t, world.unwrap(wrapped, KEK, { ...FRESH, ...given() }), 'unreachable');
  await world.unwrap(wrapped);
  await settled(() => world.unwrap(wrapped, KEK, { ...FRESH, ...given(1_000) }), 20_000);
  t.false(world.upstream.pids.includes(pid!));
});

hsmTest('a token at which calls hang is left for another one of the cluster', async (t) => {
  const key: Command = { do: 'import', label: 'orders', value: 'ab'.repeat(32), allows: ALL };
  const options = { tokens: ['hsm-a', 'hsm-b'], maxSessions: 2 };
  const world = await World.open(t, { options, commands: [key] });
  world.hsm.initialize('hsm-b', PIN);
  world.hsm.administer('hsm-b', PIN, key);
  const kek = 'pkcs11:object=orders';
  const wrapped = await world.roundTrips(kek);
  const { pids } = world.upstream;
  world.hsm.control('C_Decrypt hang!', 'C_Decrypt wait-2');
  await fails(t, world.unwrap(wrapped, kek, given()), 'unreachable');
  const other = await world.describe(kek);
  for (let call = 0; call < 10; call++) await world.unwrap(wrapped, kek, given(1_000));
  await setTimeout(6_000);
  for (let call = 0; call < 10; call++) await world.unwrap(wrapped, kek, given(1_000));
  t.deepEqual((await world.describe(kek)).labels, other.labels);
  t.deepEqual(world.upstream.pids, pids);
});

hsmTest('a child that is replaced while a call hangs in it is gone in time', async (t) => {
  const world = await World.open(t);
  const wrapped = await world.roundTrips();
  world.hsm.control('C_Decrypt hang!', 'C_Decrypt wait-2');
  await fails(t, world.unwrap(wrapped, KEK, given()), 'unreachable');
  await world.reopen();
  t.deepEqual(
    world.warnings.filter((warning) => warning.includes('was killed')),
    [],
  );
  await world.unwrap(wrapped);
});
