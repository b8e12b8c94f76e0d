import { writeFileSync } from 'node:fs';
import test from 'ava';
import { loginRequest } from '../../../../src/upstream/vault-transit/login/methods.ts';
import { secretFile } from '../world.ts';

test('AppRole: both ids, read anew each time', (t) => {
  const login = {
    method: 'approle',
    roleIdFile: secretFile(t, 'role-1'),
    secretIdFile: secretFile(t, 'secret-1'),
  } as const;
  t.deepEqual(loginRequest(login), {
    path: 'auth/approle/login',
    fields: { role_id: 'role-1', secret_id: 'secret-1' },
  });
  writeFileSync(login.secretIdFile, 'secret-2');
  const elsewhere = { ...login, mount: 'team/approle' };
  t.deepEqual(loginRequest(elsewhere), {
    path: 'auth/team/approle/login',
    fields: { role_id: 'role-1', secret_id: 'secret-2' },
  });
});

test('Kubernetes: role and token', (t) => {
  const login = { method: 'kubernetes', role: 'agent', tokenFile: secretFile(t, 'a.b.c') } as const;
  t.deepEqual(loginRequest(login), { path: 'auth/kubernetes/login', fields: { role: 'agent', jwt: 'a.b.c' } });
});

test('a file that is gone is unauthenticated, and named', (t) => {
  const login = { method: 'kubernetes', role: 'agent', tokenFile: '/nonexistent/jwt' } as const;
  const error = t.throws(() => loginRequest(login), { name: 'UpstreamFailure' });
  t.like(error, { class: 'unauthenticated', message: 'service account token /nonexistent/jwt: does not exist (yet)' });
});
