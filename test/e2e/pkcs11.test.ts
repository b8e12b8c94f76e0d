import { execFileSync, spawnSync } from 'node:child_process';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { installation, missing } from '../counterparts/counterpart.ts';
import { aesKey, requireSoftHsm, type SoftHsm, startSoftHsm } from '../counterparts/softhsm/start.ts';
import { type Agent, ROOT, startAgent } from '../helpers/agent-process.ts';
import { eventually } from '../helpers/eventually.ts';
import { keyConfig, makePlace, type Place } from '../helpers/place.ts';
import { test } from '../helpers/serial.ts';
import { decrypt, encrypt, opening } from './orders.ts';

const PIN = 'correct horse';
const TOKEN = 'hsm-a';
const KEK = `pkcs11:object=orders;token=${TOKEN}`;
const ALL = ['ENCRYPT', 'DECRYPT', 'WRAP', 'UNWRAP'] as const;

interface World {
  readonly hsm: SoftHsm;
  readonly tokenDirectory: string;
  readonly place: Place;
  readonly agent: Agent;
}

/** An agent whose only key is protected by a token of SoftHSM. */
async function world(t: ExecutionContext, allows: readonly (typeof ALL)[number][], cache: object = {}): Promise<World> {
  const hsm = startSoftHsm();
  t.teardown(() => hsm.stop());
  const tokenDirectory = hsm.initialize(TOKEN, PIN);
  hsm.administer(TOKEN, PIN, aesKey('orders', allows));
  const file = join(hsm.directory, 'pin');
  writeFileSync(file, PIN, { mode: 0o600 });
  const upstream = {
    type: 'pkcs11',
    module_path: hsm.interposer,
    library_parameters: hsm.parameters,
    pin: { file },
  };
  const place = makePlace(t, {
    upstreams: { hsm: upstream },
    keys: { orders: keyConfig('orders', { recipients: [{ upstream: 'hsm', kek: KEK, role: 'authority' }], cache }) },
  });
  return { hsm, tokenDirectory, place, agent: await startAgent(t, place) };
}

test('what one agent encrypts, the next one opens; an outage of the token between them', async (t) => {
  if (!requireSoftHsm(t)) return;
  const { hsm, tokenDirectory, place, agent } = await world(t, ALL);
  const ciphertext = await encrypt(agent, 'yesterday');
  t.is(await decrypt(agent, ciphertext), 'yesterday');
  const away = join(hsm.directory, 'away');
  renameSync(tokenDirectory, away);
  t.is(await decrypt(agent, ciphertext), 'yesterday', 'from memory');
  t.is((await agent.stop()).code, 0);

  const next = await startAgent(t, place);
  const { reason } = await next.client.failure('Decrypt', opening(ciphertext));
  t.is(reason, 'UPSTREAM_UNAVAILABLE');
  renameSync(away, tokenDirectory);
  t.is(await eventually(() => decrypt(next, ciphertext)), 'yesterday');
  const { message } = await next.admin.call('DescribeKey', { key: 'orders' });
  t.true(JSON.stringify(message).includes(KEK), JSON.stringify(message));
});

for (const [name, allows] of [
  ['AES-GCM', ALL],
  ['AES-KW', ['WRAP', 'UNWRAP']],
] as const) {
  test(`an envelope under ${name} opens with tools/unwrap_pkcs11.py and nothing of dekd`, async (t) => {
    const environment = installation('softhsm');
    if (!requireSoftHsm(t)) return;
    if (environment === undefined) {
      missing(t, 'softhsm');
      return;
    }
    const { hsm, place, agent } = await world(t, allows);
    const file = join(place.directory, 'envelope');
    writeFileSync(file, await encrypt(agent, 'without dekd'));
    const script = join(ROOT, 'tools', 'unwrap_pkcs11.py');
    const env = { SOFTHSM2_CONF: hsm.configuration, PKCS11_MODULE: hsm.library, PKCS11_PIN: PIN };
    const python = join(environment, 'bin', 'python');
    const opened = execFileSync(python, [script, file, '--context', 'tenant=acme'], { env });
    t.is(opened.toString(), 'without dekd');
    const fails = (context: string, more: object, line: RegExp): void => {
      const args = [script, file, '--context', context];
      const end = spawnSync(python, args, { env: { ...env, ...more }, encoding: 'utf8' });
      t.like(end, { status: 1, stdout: '' });
      t.regex(end.stderr, line);
    };
    fails('tenant=umbrella', {}, /^\S+envelope: refused, unauthentic: .*context.*\n$/);
    fails('tenant=acme', { PKCS11_PIN: 'wrong' }, /^\S+envelope: PyKCS11Error: CKR_PIN_INCORRECT .*\n$/);
    fails('tenant=acme', { PKCS11_TOKEN: 'hsm-z' }, /^token hsm-z is not there\n$/);
    fails('tenant=acme', { PKCS11_MODULE: '' }, /^PKCS11_MODULE is not set\n$/);
  });
}
