// The commands of docs/upstreams/pkcs11.md that pkcs11-tool has no flag for, as they stand there.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { installation, missing } from '../../counterparts/counterpart.ts';
import { hsmTest, PIN, TOKEN, World } from './world.ts';

const PAGE = readFileSync(new URL('../../../docs/upstreams/pkcs11.md', import.meta.url), 'utf8');

hsmTest('a key keeps encrypt and decrypt when the rest is taken away', async (t) => {
  const environment = installation('softhsm');
  if (environment === undefined) {
    missing(t, 'softhsm');
    return;
  }
  const world = await World.open(t);
  const [, recipe = ''] = /```sh\n(PKCS11_PIN=… python3 .*?END\n)```/s.exec(PAGE) ?? [];
  const shown = recipe.replace(
    /END\n$/,
    (end) => `print(session.getAttributeValue(key, [${USES.join(', ')}]))\n${end}`,
  );
  const command = shown
    .replace('PKCS11_PIN=…', `PKCS11_PIN='${PIN}'`)
    .replace(`LIB.so ${TOKEN}`, `${world.hsm.library} ${TOKEN}`);
  const { stdout, stderr } = spawnSync('sh', ['-c', command], {
    env: { PATH: `${join(environment, 'bin')}:${process.env['PATH']}`, SOFTHSM2_CONF: world.hsm.configuration },
    encoding: 'utf8',
  });
  t.is(stdout, '[True, True, False, False, False, False]\n', stderr);
  t.is((await world.describe()).labels.get('wraps-with'), 'AES-GCM');
  await world.roundTrips();
});

const USES = ['CKA_ENCRYPT', 'CKA_DECRYPT', 'CKA_WRAP', 'CKA_UNWRAP', 'CKA_SIGN', 'CKA_VERIFY'];
