import { createCipheriv } from 'node:crypto';
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { fails } from '../../contract/upstream-contract.ts';
import { aesKey, type Command } from '../../counterparts/softhsm/start.ts';
import { ALL, CONTEXT, count, hsmTest, TOKEN, tampered, World } from './world.ts';

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
