// What becomes of KEKs by themselves, in a running agent: the keystore looks a second after its start, and each minute.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import { makePlace, type Place } from '../helpers/place.ts';
import { test } from '../helpers/serial.ts';

const WAIT_MS = 20_000;

/** The keystore's settings beside what makePlace gives. */
function reconfigure(place: Place, settings: object): void {
  const store = {
    type: 'local',
    directory: `${place.directory}/keystore`,
    root_key: { file: place.rootKeyFile },
    durable: true,
  };
  place.configure({ upstreams: { store: { ...store, ...settings } } });
}

async function logged(agent: Agent, text: string): Promise<void> {
  const untilMs = performance.now() + WAIT_MS;
  while (!agent.stderr().includes(text)) {
    if (performance.now() > untilMs) throw new Error(`${text} was not logged\n${agent.stderr()}`);
    await sleep(50);
  }
}

const dekId = (ciphertext: Buffer): string => ciphertext.toString('hex', 8, 40);

test('a version that is old enough is followed by the next, and the keys get new DEKs by themselves', async (t) => {
  const place = makePlace(t);
  await (await startAgent(t, place)).stop();
  reconfigure(place, { rotate_after: '1s' });
  const agent = await startAgent(t, place);
  const { message: before } = await agent.client.call('Encrypt', { key: 'default', plaintext: Buffer.from('old') });
  await logged(agent, '"event":"key_rotated"');
  const { message: after } = await agent.client.call('Encrypt', { key: 'default' });
  t.not(dekId(after.ciphertext), dekId(before.ciphertext));
  const opened = await agent.client.call('Decrypt', { ciphertext: before.ciphertext });
  t.is(opened.message.plaintext.toString(), 'old');
  const { message } = await agent.admin.call('DescribeKey', { key: 'default' });
  const [kek] = message.keks;
  t.deepEqual(
    kek.versions.map(({ state }: { state: string }) => state),
    ['KEK_VERSION_STATE_DECRYPT_ONLY', 'KEK_VERSION_STATE_ACTIVE'],
  );
  const next = Number(kek.next_rotation_at.seconds) - Number(kek.versions[1].created_at.seconds);
  t.true(next === 1 || next === 2);
  t.is((await agent.stop()).code, 0);
});

test('a KEK that has expired only decrypts, for whose rule says `archived: true`', async (t) => {
  const place = makePlace(t);
  const first = await startAgent(t, place);
  const { message } = await first.client.call('Encrypt', { key: 'default', plaintext: Buffer.from('kept') });
  await first.stop();
  reconfigure(place, { keks: { default: { expires: '2020-01-01T00:00:00Z' } } });
  const agent = await startAgent(t, place);
  t.regex(agent.stderr(), /"event":"warning".*keks\.default\.expires/);
  await logged(agent, '"event":"kek_state"');
  t.is((await agent.client.failure('Encrypt', { key: 'default' })).reason, 'KEY_ARCHIVED');
  t.is((await agent.client.call('DescribeKey', { key: 'default' })).message.state, 'KEY_STATE_ARCHIVED');
  // In the development profile dekd's own user may use archived keys.
  const opened = await agent.client.call('Decrypt', { ciphertext: message.ciphertext });
  t.is(opened.message.plaintext.toString(), 'kept');
  const enabled = await agent.admin.failure('EnableKey', { key: 'default' });
  t.is(enabled.reason, 'KEY_ARCHIVED');
  t.regex(enabled.message, /expir/);
});
