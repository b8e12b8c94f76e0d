import { status } from '@grpc/grpc-js';
import test from 'ava';
import { fakeAgent, type Request, refuse } from '../fake-agent.ts';
import { dekctl } from '../run.ts';

let last: Request;
const agent = fakeAgent(test, {
  ListKeys: () => ({
    keys: [
      {
        key: 'orders',
        state: 'KEY_STATE_PENDING_DELETION',
        suite: 'SUITE_AES_256_GCM',
        recipients: [{ kek: 'local:x/a' }, { kek: 'local:x/b\n' }],
      },
      { key: 'k', state: 'KEY_STATE_ACTIVE', suite: 'SUITE_XAES_256_GCM', recipients: [] },
    ],
  }),
  CreateKey: (request) => {
    last = request;
    if (request.key === 'taken') refuse(status.ALREADY_EXISTS, 'a KEK named taken exists', 'KEY_EXISTS');
    return { key: request.key, kek: `local:x/${request.key}`, kek_version: '1', usable: request.upstream === '' };
  },
  RotateKey: (request) =>
    request.key === 'cloud'
      ? { key: 'cloud', kek: '', kek_version: '', retired_deks: '2' }
      : { key: request.key, kek: 'local:x/orders', kek_version: '2', retired_deks: '1' },
});
const keys = async (...args: string[]) => {
  const { code, stdout, stderr } = await dekctl(['keys', ...args, ...agent.flags]);
  return { code, stdout: stdout.toString(), stderr };
};

test.serial('list', async (t) => {
  t.is(
    (await keys('list')).stdout,
    'orders  pending deletion  AES_256_GCM  local:x/a, local:x/b\\u{a}\nk       active  XAES_256_GCM\n',
  );
  t.is(JSON.parse((await keys('list', '--json')).stdout).keys[1].key, 'k');
});

test.serial('create', async (t) => {
  t.is((await keys('create', 'new')).stdout, 'created local:x/new, version 1; key new can be used at once\n');
  const other = await keys('create', 'new', '--upstream', 'store', '--label', 'team=a', '--label', 'env=b');
  t.is(other.stdout, 'created local:x/new, version 1; name it in the configuration to use it\n');
  t.is(last.upstream, 'store');
  t.deepEqual({ ...last.labels }, { team: 'a', env: 'b' });
  t.deepEqual(JSON.parse((await keys('create', 'new', '--json')).stdout), {
    key: 'new',
    kek: 'local:x/new',
    kek_version: '1',
    usable: true,
  });
  t.deepEqual(await keys('create', 'taken'), {
    code: 7,
    stdout: '',
    stderr:
      'dekctl: KEY_EXISTS: a KEK named taken exists; a new version of it is made with `dekctl keys rotate`, another KEK needs another name\n',
  });
  t.is(
    (await keys('create', 'new', '--label', 'team')).stderr,
    'dekctl: --label team: expected NAME=VALUE, such as tenant=acme\n',
  );
});

test.serial('rotate', async (t) => {
  t.is(
    (await keys('rotate', 'orders')).stdout,
    'rotated orders (local:x/orders is at version 2); DEKs that no longer encrypt: 1\n',
  );
  t.is((await keys('rotate', 'cloud')).stdout, 'rotated cloud; DEKs that no longer encrypt: 2\n');
  t.is(JSON.parse((await keys('rotate', 'orders', '--json')).stdout).retired_deks, '1');
});
