import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ChildUpstream } from '../../../src/upstream/child/child-upstream.ts';
import { MEANINGS } from '../../../src/upstream/pkcs11/errors.ts';
import { type Pkcs11Options, pkcs11 } from '../../../src/upstream/pkcs11/options.ts';
import { live } from '../../contract/upstream-context.ts';
import { fails, upstreamContract } from '../../contract/upstream-contract.ts';
import { aesKey, hasSoftHsm, startSoftHsm } from '../../counterparts/softhsm/start.ts';
import { ALL, contractBackends, count, FRESH, hsmTest, KEK, PIN, TOKEN, World } from './world.ts';

if (hasSoftHsm) upstreamContract('pkcs11, AES-GCM', contractBackends(startSoftHsm));

hsmTest('a key whose uses were taken away is refused, and described as disabled', async (t) => {
  const world = await World.open(t);
  const wrapped = await world.roundTrips();
  for (const attribute of ALL) world.administer({ do: 'change', label: 'orders', attribute, value: false });
  t.is((await fails(t, world.unwrap(wrapped), 'refused', 'kek'))!.condition, 'disabled');
  t.is((await fails(t, world.wrap(world.dek()), 'refused', 'kek'))!.condition, 'disabled');
  t.is((await world.describe()).state, 'disabled');
  for (const attribute of ['ENCRYPT', 'DECRYPT']) {
    world.administer({ do: 'change', label: 'orders', attribute, value: true });
  }
  await world.unwrap(wrapped);
  await world.roundTrips();
});

hsmTest('a mechanism that the key has no use for is the forger’s, and no refusal of the KEK', async (t) => {
  const world = await World.open(t, { commands: [aesKey('orders', ['ENCRYPT', 'DECRYPT'])] });
  for (const algorithm of [1, 2, 3, 4, 6, 255]) {
    await fails(t, world.unwrap({ kekVersion: '', algorithm, bytes: Buffer.alloc(40, 7) }), 'invalid');
  }
  const wrapped = await world.roundTrips();
  world.administer({ do: 'change', label: 'orders', attribute: 'DECRYPT', value: false });
  await fails(t, world.unwrap(wrapped), 'refused', 'kek');
  await fails(t, world.unwrap(wrapped, KEK, FRESH), 'refused', 'kek');
});

hsmTest('a key that was destroyed is refused after a new login', async (t) => {
  const world = await World.open(t);
  const wrapped = await world.roundTrips();
  world.administer({ do: 'destroy', label: 'orders' });
  world.hsm.control();
  t.is((await fails(t, world.unwrap(wrapped), 'refused', 'kek'))!.condition, 'missing');
  const calls = world.hsm.calls();
  const login = calls.indexOf('C_Login');
  t.true(login >= 0 && calls.lastIndexOf('C_GetTokenInfo') > calls.lastIndexOf('C_FindObjects'), calls.join(' '));
  t.true(calls.lastIndexOf('C_FindObjects') > login, 'looked for again after the login');
});

hsmTest('two keys of one name are not told apart without an id', async (t) => {
  const world = await World.open(t, { commands: [aesKey('orders', ALL, '01'), aesKey('orders', ALL, '02')] });
  world.hsm.control();
  for (let call = 0; call < 3; call++) {
    t.regex((await fails(t, world.wrap(world.dek()), 'unreachable'))!.message, /^pkcs11:object=orders.*several keys/);
  }
  t.deepEqual(count(world, 'C_Initialize', 'C_Login'), [1, 1], 'one key that is not fit costs the others nothing');
  const first = await world.roundTrips(`pkcs11:id=%01;object=orders;token=${TOKEN}`);
  await fails(t, world.unwrap(first, `pkcs11:id=%02;token=${TOKEN}`), 'invalid');
});

hsmTest('the library itself, by the environment; what cannot be loaded is said by name', async (t) => {
  const world = await World.open(t);
  process.env['SOFTHSM2_CONF'] = world.hsm.configuration;
  const pin = { file: join(world.hsm.directory, 'pin') };
  const open = (options: Partial<Pkcs11Options>) =>
    ChildUpstream.open({
      facts: pkcs11,
      options: { type: 'pkcs11', modulePath: world.hsm.library, pin, environment: ['SOFTHSM2_CONF'], ...options },
      onWarning: () => undefined,
    });
  const upstream = await open({});
  t.teardown(() => upstream.close());
  t.is((await upstream.describe(KEK, live())).state, 'active');

  process.env['CREDENTIALS_DIRECTORY'] = world.hsm.directory;
  const credential = await open({ pin: { credential: 'pin' } });
  t.teardown(() => credential.close());
  t.is((await credential.describe(KEK, live())).state, 'active');

  const missing = await t.throwsAsync(open({ modulePath: '/nowhere/hsm.so' }), { name: 'DekdError' });
  t.regex(missing!.message, /^module_path \/nowhere\/hsm\.so is not a PKCS#11 library that loads/);
  const noPin = await t.throwsAsync(open({ pin: { file: `${pin.file}.none` } }), { name: 'DekdError' });
  t.regex(noPin!.message, /^PIN .*: does not exist; write the PIN/);
  writeFileSync(pin.file, '\n', { mode: 0o600 });
  await t.throwsAsync(open({}), { name: 'DekdError', message: /does not have 1-255 bytes/ });
});

hsmTest('each return value means what the table says', async (t) => {
  const world = await World.open(t);
  const wrapped = await world.roundTrips();
  let pin = 0;
  for (const [code, meaning] of MEANINGS) {
    if (meaning.class === 'unauthenticated') {
      world.writePin(`another ${pin++}`);
      world.hsm.control(`C_Login ${code}`);
      await fails(t, world.unwrap(wrapped, KEK, FRESH), 'unauthenticated');
      world.writePin(PIN);
    } else if (code === 0xb1) {
      world.hsm.control(`C_OpenSession ${code}`);
      await fails(t, world.unwrap(wrapped, KEK, FRESH), 'throttled');
    } else {
      world.hsm.control(`C_Decrypt ${code}`);
      await fails(t, world.unwrap(wrapped), meaning.class, meaning.scope);
      world.hsm.control(`C_Encrypt ${code}`);
      await fails(
        t,
        world.wrap(world.dek()),
        meaning.first === 'unwrap' ? 'unreachable' : meaning.class,
        meaning.scope,
      );
    }
    world.hsm.control();
    await world.unwrap(wrapped);
  }
  for (const code of [0x02, 0x21, 0x31, 0x70, 0xe1, 0x8000_0001]) {
    world.hsm.control(`C_Decrypt ${code}`);
    await fails(t, world.unwrap(wrapped), 'unreachable');
  }
});
