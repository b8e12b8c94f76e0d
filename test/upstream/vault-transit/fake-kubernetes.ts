import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { ExecutionContext } from 'ava';
import type { OpenBao } from '../../counterparts/openbao/start.ts';
import { json } from './fake-vault.ts';
import { succeeds } from './world.ts';

export interface FakeKubernetes {
  readonly address: string;
  /** Of the authority that signed its certificate. */
  readonly ca: string;
  /** How often a token was reviewed. */
  reviews(): number;
}

/** An API server's TokenReview for who comes with the reviewer's JWT, over TLS with a certificate that OpenBao makes: every token is genuine, and of service account `account`. */
export async function startFakeKubernetes(
  t: ExecutionContext,
  bao: OpenBao,
  { reviewer, account }: { reviewer: string; account: string },
): Promise<FakeKubernetes> {
  await succeeds(bao, 'POST', 'sys/mounts/pki', { type: 'pki' });
  const names = { common_name: 'kubernetes', ip_sans: '127.0.0.1' };
  const { data } = (await succeeds(bao, 'POST', 'pki/root/generate/exported', names)).json;
  const ca = `${data.certificate}\n`;
  let reviews = 0;
  const review = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    await text(request);
    // Each review comes over a connection of its own: it trusts what is configured then.
    response.setHeader('connection', 'close');
    // As Kubernetes answers whose service account lacks system:auth-delegator.
    if (request.headers.authorization !== `Bearer ${reviewer}`) {
      json(response, 403, { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'Forbidden', code: 403 });
      return;
    }
    reviews++;
    const user = { username: `system:serviceaccount:${account}`, uid: 'u-1', groups: [] };
    const kind = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview' };
    json(response, 201, { ...kind, status: { authenticated: true, user } });
  };
  const server = createServer(
    { key: data.private_key, cert: ca },
    (request, response) => void review(request, response),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return { address: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, ca, reviews: () => reviews };
}

/** Of a service account `namespace:name`, as Kubernetes issues it, but for its signature, which OpenBao leaves to TokenReview. */
export function serviceAccountJwt(account: string): string {
  const [namespace, name] = account.split(':');
  const claims = {
    iss: 'kubernetes/serviceaccount',
    sub: `system:serviceaccount:${account}`,
    exp: 4_000_000_000,
    iat: 1,
    nbf: 1,
    'kubernetes.io': { namespace, serviceaccount: { name, uid: 'u-1' } },
  };
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'RS256', typ: 'JWT' })}.${part(claims)}.c2lnbmF0dXJl`;
}
