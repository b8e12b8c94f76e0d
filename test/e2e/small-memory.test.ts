import { randomBytes } from 'node:crypto';
import { startAgent } from '../helpers/agent-process.ts';
import { keyConfig, makePlace } from '../helpers/place.ts';
import { test } from '../helpers/serial.ts';

const TENANTS = 400;
/** CAP_IPC_LOCK would lift the limit. */
const DROP = process.getuid?.() === 0 ? ['setpriv', '--bounding-set=-ipc_lock', '--inh-caps=-ipc_lock'] : [];

for (const { limitKiB, slots } of [
  { limitKiB: 64, slots: 251 },
  { limitKiB: 4, slots: 11 },
]) {
  test(`under a limit of ${limitKiB} KiB of locked memory, ${TENANTS} DEKs and long payloads`, async (t) => {
    const place = makePlace(t, { keys: { orders: keyConfig('orders', { partition_by: ['tenant'] }) } });
    const prefix = [...DROP, 'sh', '-c', `ulimit -l ${limitKiB}; exec "$0" "$@"`];
    const { client, admin } = await startAgent(t, place, { prefix });
    await admin.call('RotateKey', { key: 'orders' });
    const sealed = [];
    for (let at = 0; at < TENANTS; at++) {
      const request = {
        encryption_context: { tenant: `t${at}` },
        plaintext: randomBytes(at % 100 === 0 ? 300_000 : 64),
      };
      const { message } = await client.call('Encrypt', { key: 'orders', ...request });
      sealed.push({ ciphertext: message.ciphertext, ...request });
    }
    for (const { ciphertext, encryption_context, plaintext } of sealed) {
      const { message } = await client.call('Decrypt', { ciphertext, encryption_context });
      t.true(message.plaintext.equals(plaintext));
    }
    const { message: status } = await admin.call('GetStatus', {});
    const { kind, slots: held, slots_used: used, sealed: inSecondTier, max_sealed: most, free } = status.memory;
    t.not(kind, 'unlocked');
    t.is(Number(held), slots);
    t.true(Number(used) <= slots);
    t.true(Number(inSecondTier) >= TENANTS - slots);
    t.is(Number(most), 2 ** 20 - slots);
    t.true(Number(free) > 1_000_000);
    t.regex(status.warnings.join('\n'), /raise RLIMIT_MEMLOCK/);
  });
}
