import test, { type ExecutionContext } from 'ava';
import { fails, upstreamContract } from '../../contract/upstream-contract.ts';
import { hasKryoptic, requireKryoptic, startKryoptic } from '../../counterparts/kryoptic/start.ts';
import { aesKey, type Command } from '../../counterparts/softhsm/start.ts';
import { ALL, contractBackends, FRESH, KEK, PIN, shared, tampered, World } from './world.ts';

// A second opinion on what SoftHSM says: another library, with other return values, and with RSA-OAEP under SHA-256, which SoftHSM lacks.

function open(t: ExecutionContext, more: Parameters<typeof World.open>[1] = {}): Promise<World> {
  return World.open(t, { hsm: startKryoptic(), ...more });
}

if (hasKryoptic) upstreamContract('pkcs11 on kryoptic, AES-GCM', contractBackends(startKryoptic));

/** One after the other: each starts processes, and their time to start is bounded. */
function hsmTest(title: string, check: (t: ExecutionContext) => Promise<void>): void {
  test.serial(title, async (t) => {
    if (requireKryoptic(t)) await check(t);
  });
}

for (const { name, algorithm, habit } of [
  { name: 'AES-KW', algorithm: 3, habit: 'C_GetInfo 0' },
  { name: 'AES-KWP', algorithm: 4, habit: 'C_GetMechanismInfo no-key-wrap' },
]) {
  hsmTest(`a key that only wraps and unwraps wraps with ${name}`, async (t) => {
    const world = await open(t, { commands: [aesKey('orders', ['WRAP', 'UNWRAP'])] });
    world.hsm.control(habit);
    const wrapped = await world.roundTrips();
    t.is(wrapped.algorithm, algorithm);
    t.is(wrapped.bytes.length, 40);
    await fails(t, world.unwrap({ ...wrapped, bytes: tampered(wrapped.bytes) }), 'invalid');
  });
}

hsmTest('RSA-OAEP with SHA-256, by a library that has it', async (t) => {
  const commands: Command[] = [{ do: 'generate', label: 'orders', kind: 'rsa', allows: ALL }];
  const world = await open(t, { commands, options: { origin: 'unproven' } });
  const wrapped = await world.roundTrips();
  t.is(wrapped.algorithm, 2);
  t.is(wrapped.bytes.length, 256);
  for (const bytes of [tampered(wrapped.bytes), wrapped.bytes.subarray(1)]) {
    await fails(t, world.unwrap({ ...wrapped, bytes }), 'invalid');
  }
  t.is((await world.describe()).labels.get('wraps-with'), 'RSA-OAEP-SHA256');
});

hsmTest('a key whose uses were taken away, and one that was destroyed, is refused', async (t) => {
  const world = await open(t);
  const wrapped = await world.roundTrips();
  for (const attribute of ALL) world.administer({ do: 'change', label: 'orders', attribute, value: false });
  t.is((await fails(t, world.unwrap(wrapped, KEK, FRESH), 'refused', 'kek'))!.condition, 'disabled');
  t.is((await fails(t, world.wrap(world.dek(), KEK, FRESH), 'refused', 'kek'))!.condition, 'disabled');
  world.administer({ do: 'destroy', label: 'orders' });
  t.is((await fails(t, world.unwrap(wrapped, KEK, FRESH), 'refused', 'kek'))!.condition, 'missing');
});

hsmTest('wrong PINs never lock the token: the last try is left to others', async (t) => {
  const world = await open(t);
  const wrapped = await world.roundTrips();
  // kryoptic locks at the tenth.
  for (let wrong = 0; wrong < 12; wrong++) {
    world.writePin(`wrong ${wrong}`);
    for (let call = 0; call < 2; call++) await fails(t, world.unwrap(wrapped, KEK, FRESH), 'unauthenticated');
  }
  world.writePin(PIN);
  world.hsm.control();
  const outcome = await world.unwrap(wrapped, KEK, FRESH).then(
    () => 'unwrapped',
    (error: Error) => error.message,
  );
  t.regex(outcome, /one more wrong PIN would lock it; none is tried/);
  t.false(world.hsm.calls().includes('C_Login'));
});

hsmTest('the library itself takes its configuration as a parameter', async (t) => {
  const { hsm } = await open(t);
  const world = await World.open(t, {
    hsm: shared(hsm),
    options: { modulePath: hsm.library, libraryParameters: `kryoptic_conf=${hsm.configuration}` },
  });
  await world.roundTrips();
});
