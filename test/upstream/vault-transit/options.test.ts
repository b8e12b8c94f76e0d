import test from 'ava';
import { SERVICE_ACCOUNT_TOKEN, type VaultLogin, vaultTransit } from '../../../src/upstream/vault-transit/options.ts';

const logins: readonly [login: VaultLogin, files: readonly string[]][] = [
  [{ method: 'token', file: '/run/token' }, ['/run/token']],
  [{ method: 'approle', roleIdFile: '/run/role', secretIdFile: '/run/secret' }, ['/run/role', '/run/secret']],
  [{ method: 'kubernetes', role: 'agent' }, [SERVICE_ACCOUNT_TOKEN]],
  [{ method: 'kubernetes', role: 'agent', tokenFile: '/run/jwt' }, ['/run/jwt']],
  [{ method: 'proxy' }, []],
];
for (const [login, files] of logins) {
  test(`the child reads the files of ${JSON.stringify(login)}, and of ca`, (t) => {
    const options = { type: 'vault-transit', addresses: ['https://vault:8200'], login } as const;
    t.deepEqual(vaultTransit.readPaths(options), files);
    t.deepEqual(vaultTransit.readPaths({ ...options, ca: '/run/ca.pem' }), ['/run/ca.pem', ...files]);
  });
}

test('the child needs nothing of the environment', (t) => {
  t.deepEqual(vaultTransit.environment, []);
  t.is(vaultTransit.type, 'vault-transit');
  t.true(vaultTransit.beside.endsWith('/src/upstream/vault-transit/options.ts'));
});
