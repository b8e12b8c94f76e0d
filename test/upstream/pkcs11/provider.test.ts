import { createCipheriv } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { ChildUpstream } from '../../../src/upstream/child/child-upstream.ts';
import type { UpstreamFailure } from '../../../src/upstream/failure.ts';
import { MEANINGS } from '../../../src/upstream/pkcs11/errors.ts';
import { type Pkcs11Options, pkcs11 } from '../../../src/upstream/pkcs11/options.ts';
import { live } from '../../contract/upstream-context.ts';
import { fails, upstreamContract } from '../../contract/upstream-contract.ts';
import { aesKey, type Command, hasSoftHsm, requireSoftHsm, startSoftHsm } from '../../counterparts/softhsm/start.ts';
import { ALL, CONTEXT, contractBackends, KEK, PIN, TOKEN, World } from './world.ts';

const FRESH = { ...live(), fresh: true };

if (hasSoftHsm) upstreamContract('pkcs11, AES-GCM', contractBackends(startSoftHsm));

/** One after the other: each starts processes, and their time to start is bounded. */
function hsmTest(title: string, check: (t: ExecutionContext) => Promise<void>): void {
  test.serial(title, async (t) => {
    if (requireSoftHsm(t)) await check(t);
  });
}

hsmTest('AES-GCM is preferred: nonce, DEK and tag', async (t) => {
  const world = await World.open(t);
  const wrapped = await world.roundTrips();
  t.is(wrapped.algorithm, 5);
  t.is(wrapped.bytes.length, 60);
  t.is(wrapped.kekVersion, '');
  const { state, labels, versions } = await world.describe();
  t.is(state, 'active');
  t.deepEqual(versions, []);
  t.deepEqual(Object.fromEntries(labels), { token: TOKEN, 'wraps-with': 'AES-GCM' });
});

for (const { name, algorithm, habit } of [
  { name: 'AES-KW', algorithm: 3, habit: 'C_GetInfo 0' },
  { name: 'AES-KWP', algorithm: 4, habit: 'C_GetMechanismInfo no-key-wrap' },
]) {
  hsmTest(`a key that only wraps and unwraps wraps with ${name}`, async (t) => {
    const world = await World.open(t, { commands: [aesKey('orders', ['WRAP', 'UNWRAP'])] });
    world.hsm.control(habit);
    const wrapped = await world.roundTrips();
    t.is(wrapped.algorithm, algorithm);
    t.is(wrapped.bytes.length, 40);
    const bytes = Buffer.from(wrapped.bytes);
    bytes[7]! ^= 1;
    await fails(t, world.unwrap({ ...wrapped, bytes }), 'invalid');
    t.is((await world.describe()).labels.get('wraps-with'), name);
  });
}

hsmTest('what others wrap by the standards opens: AES-GCM, RFC 3394, RFC 5649', async (t) => {
  const kekBytes = Buffer.alloc(32, 0xab);
  // The first vector of docs/envelope.md: its dek_id is known.
  const dek = Buffer.from(Array.from({ length: 32 }, (_, index) => index));
  const id = '4348df81d3f8079cb6552da9a317bf7ac102c4acc7e5e02665d7c48819109bfd';
  const key: Command = { do: 'import', label: 'orders', value: kekBytes.toString('hex'), allows: ALL };
  const world = await World.open(t, { commands: [key] });
  const gcm = createCipheriv('aes-256-gcm', kekBytes, Buffer.alloc(12, 7)).setAAD(CONTEXT.encoded);
  const sealed = Buffer.concat([Buffer.alloc(12, 7), gcm.update(dek), gcm.final(), gcm.getAuthTag()]);
  const kw = createCipheriv('id-aes256-wrap', kekBytes, Buffer.from('a6'.repeat(8), 'hex'));
  const kwp = createCipheriv('id-aes256-wrap-pad', kekBytes, Buffer.from('a65959a6', 'hex'));
  for (const [algorithm, bytes] of [
    [5, sealed],
    [3, kw.update(dek)],
    [4, kwp.update(dek)],
  ] as const) {
    t.is((await world.unwrap({ kekVersion: '', algorithm, bytes })).toString('hex'), id, `algorithm ${algorithm}`);
  }
});

hsmTest('a token that wants the old layout of AES-GCM parameters gets it', async (t) => {
  const world = await World.open(t);
  world.hsm.control('C_EncryptInit old-layout');
  await world.roundTrips();
  t.deepEqual(count(world, 'C_EncryptInit', 'C_DecryptInit'), [2, 1], 'found out once');
  await world.roundTrips();
  t.deepEqual(count(world, 'C_EncryptInit', 'C_DecryptInit'), [3, 2]);
});

hsmTest('a token that takes no nonce but its own gives it', async (t) => {
  const world = await World.open(t);
  world.hsm.control('C_EncryptInit own-nonce');
  const nonces = [await world.roundTrips(), await world.roundTrips()].map(({ bytes }) => bytes.subarray(0, 12));
  t.notDeepEqual(nonces[0], nonces[1]);
  for (const nonce of nonces) t.false(nonce.every((byte) => byte === 0));
});

hsmTest('RSA-OAEP with SHA-256, only where an unproven origin is allowed', async (t) => {
  const commands: Command[] = [{ do: 'generate', label: 'orders', kind: 'rsa', allows: ALL }];
  const world = await World.open(t, { commands });
  world.hsm.control('C_EncryptInit oaep');
  const refusal = await fails(t, world.wrap(world.dek()), 'unreachable');
  t.regex(refusal!.message, /origin: unproven/);

  const unproven = await World.open(t, { commands, options: { origin: 'unproven' } });
  unproven.hsm.control('C_EncryptInit oaep');
  const wrapped = await unproven.roundTrips();
  t.is(wrapped.algorithm, 2);
  t.is(wrapped.bytes.length, 256);
  for (const bytes of [tampered(wrapped.bytes), wrapped.bytes.subarray(1)]) {
    await fails(t, unproven.unwrap({ ...wrapped, bytes }), 'invalid');
  }
  t.deepEqual(
    [world, unproven].map(({ upstream }) => upstream.allowsUnprovenOrigin),
    [false, true],
  );
  const { labels } = await unproven.describe();
  t.deepEqual(Object.fromEntries(labels), { token: TOKEN, 'wraps-with': 'RSA-OAEP-SHA256', origin: 'unproven' });

  // SoftHSM 2.6.1 itself has OAEP with SHA-1 only, and a table of ours cannot know that it means so.
  unproven.hsm.control();
  await fails(t, unproven.wrap(unproven.dek()), 'unreachable');
});

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

for (const { allows, algorithm, bytes } of [
  { allows: ['DECRYPT'], algorithm: 5, bytes: 60 },
  { allows: ['UNWRAP'], algorithm: 3, bytes: 40 },
  { allows: ['UNWRAP'], algorithm: 4, bytes: 40 },
] as const) {
  hsmTest(`a forged DEK of algorithm ${algorithm} under a key that has ${allows} alone is invalid`, async (t) => {
    const world = await World.open(t, { commands: [aesKey('orders', allows)] });
    const forged = { kekVersion: '', algorithm, bytes: Buffer.alloc(bytes, 7) };
    for (let call = 0; call < 3; call++) await fails(t, world.unwrap(forged), 'invalid');
    const away = join(world.hsm.directory, 'away');
    renameSync(world.tokenDirectory, away);
    await fails(t, world.unwrap(forged), 'unreachable');
  });
}

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

function count(world: World, ...functions: string[]): number[] {
  const calls = world.hsm.calls();
  return functions.map((name) => calls.filter((call) => call === name).length);
}

async function settledAs(call: () => Promise<unknown>, failureClass: string): Promise<UpstreamFailure> {
  for (const until = Date.now() + 10_000; ; await setTimeout(50)) {
    const failure = (await call().catch((error: unknown) => error)) as UpstreamFailure;
    if (failure.class === failureClass || Date.now() > until) return failure;
  }
}

function tampered(bytes: Uint8Array): Buffer {
  const changed = Buffer.from(bytes);
  changed[changed.length >> 1]! ^= 1;
  return changed;
}

/** What a call gives once its child is back: tried again for `patienceMs` while no process is there for it. */
async function settled<Result>(call: () => Promise<Result>, patienceMs = 10_000): Promise<Result> {
  for (const until = Date.now() + patienceMs; ; await setTimeout(50)) {
    try {
      return await call();
    } catch (error) {
      if (Date.now() > until) throw error;
    }
  }
}
