import test from 'ava';
import { issuedToken, leaseOf } from '../../../../src/upstream/vault-transit/login/lease.ts';

function answerOf(body: unknown) {
  const bytes = Buffer.from(JSON.stringify(body));
  return { from: 'a', status: 200, location: undefined, retryAfter: undefined, body: bytes };
}

test('a login gives a token and its life, and its answer is zeroed', (t) => {
  const answer = answerOf({ auth: { client_token: 's.x', lease_duration: 60, renewable: true } });
  t.deepEqual(issuedToken(answer), { token: 's.x', lease: { ttlMs: 60_000, renewable: true } });
  t.true(answer.body.every((byte) => byte === 0));
});

test('a life is a whole number of seconds that is not negative', (t) => {
  t.deepEqual(leaseOf({ ttl: 0 }, 'ttl'), { ttlMs: 0, renewable: false });
  for (const value of [undefined, null, 'x', {}, { ttl: -1 }, { ttl: 1.5 }, { ttl: '60' }, { lease_duration: 60 }]) {
    t.is(leaseOf(value, 'ttl'), undefined);
  }
});
