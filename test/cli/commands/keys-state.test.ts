import { status } from '@grpc/grpc-js';
import test from 'ava';
import { fakeAgent, type Request, refuse } from '../fake-agent.ts';
import { dekctl } from '../run.ts';

let last: Request;
const answer = (state: string) => (request: Request) => {
  last = request;
  if (request.key === 'gone') refuse(status.FAILED_PRECONDITION, 'KEK gone is destroyed: …', 'KEY_DESTROYED');
  return { state: request.key === 'old' ? 'KEY_STATE_ARCHIVED' : state, purged_deks: 3 };
};
const agent = fakeAgent(test, {
  DisableKey: answer('KEY_STATE_DISABLED'),
  EnableKey: answer('KEY_STATE_ACTIVE'),
  ArchiveKey: answer('KEY_STATE_ARCHIVED'),
});
const keys = async (...args: string[]) => {
  const { code, stdout, stderr } = await dekctl(['keys', ...args, ...agent.flags]);
  return { code, stdout: stdout.toString(), stderr };
};

test.serial('each says what it did, and how to undo it', async (t) => {
  t.is(
    (await keys('disable', 'orders')).stdout,
    'disabled orders: every use is refused from now on, DEKs zeroed: 3; back with: dekctl keys enable orders\n',
  );
  t.is(last.key, 'orders');
  t.is((await keys('enable', 'orders')).stdout, 'enabled orders: it is active\n');
  t.is(
    (await keys('enable', 'old')).stdout,
    'enabled old: it is archived, as before it was disabled; to let it encrypt too, run the same again\n',
  );
  t.is(
    (await keys('archive', 'orders')).stdout,
    'archived orders: it no longer encrypts, and decrypts for rules with archived: true; back with: dekctl keys enable orders\n',
  );
});

test.serial('one KEK of the key: it is named in the request and in what undoes it', async (t) => {
  const kek = ['--kek', 'local:retired'];
  t.is(
    (await keys('disable', 'orders', ...kek)).stdout,
    'disabled KEK local:retired of orders (the key is disabled): what it wrapped is refused from now on, DEKs zeroed: 3; ' +
      'back with: dekctl keys enable orders --kek local:retired\n',
  );
  t.deepEqual([last.key, last.kek], ['orders', 'local:retired']);
  t.is(
    (await keys('enable', 'orders', ...kek)).stdout,
    'enabled KEK local:retired of orders (the key is active); see its state with: dekctl keys describe orders\n',
  );
  t.is(
    (await keys('archive', 'orders', ...kek)).stdout,
    'archived KEK local:retired of orders (the key is archived): what it wrapped decrypts for rules with archived: true; ' +
      'back with: dekctl keys enable orders --kek local:retired\n',
  );
  t.is(last.kek, 'local:retired');
});

test.serial('for programs the agent’s answer', async (t) => {
  t.deepEqual(JSON.parse((await keys('disable', 'orders', '--json')).stdout), {
    state: 'KEY_STATE_DISABLED',
    purged_deks: '3',
  });
  t.deepEqual(JSON.parse((await keys('enable', 'old', '--json')).stdout), { state: 'KEY_STATE_ARCHIVED' });
});

for (const command of ['disable', 'enable', 'archive']) {
  test.serial(`${command}: what is not allowed ends with 7, without a key with 2`, async (t) => {
    t.deepEqual(await keys(command, 'gone'), {
      code: 7,
      stdout: '',
      stderr: 'dekctl: KEY_DESTROYED: KEK gone is destroyed: …\n',
    });
    const missing = await keys(command);
    t.is(missing.code, 2);
    t.is(missing.stderr, `dekctl: missing required argument 'key'; see \`dekctl keys ${command} --help\`\n`);
  });
}
