import test from 'ava';
import { fails } from '../../contract/upstream-contract.ts';
import { DECRYPTED, ENCRYPTED, json, startFakeVault } from './fake-vault.ts';
import { CONTEXT, call, DEK, openProvider } from './world.ts';

const KEK = 'vault-transit:transit/keys/orders';
const login = { method: 'proxy' } as const;

test('the next address is asked when one is unreachable, and stays the first', async (t) => {
  const dead = await startFakeVault(t, () => undefined);
  await dead.close();
  const sealed = await startFakeVault(t, (_seen, response) => json(response, 503, { errors: ['Vault is sealed'] }));
  const good = await startFakeVault(t, (_seen, response) => json(response, 200, ENCRYPTED));
  const provider = await openProvider(t, { addresses: [dead.address, sealed.address, good.address], login });
  for (let times = 0; times < 3; times++) await provider.wrap(KEK, DEK, CONTEXT, call());
  t.is(sealed.seen.length, 1);
  t.is(good.seen.length, 3);
  t.is(good.connections(), 1);
});

test('with no address left the failure names each', async (t) => {
  const sealed = await startFakeVault(t, (_seen, response) => json(response, 503, { errors: ['Vault is sealed'] }));
  const page = await startFakeVault(t, (_seen, response) => response.writeHead(502).end('<html>'));
  const provider = await openProvider(t, { addresses: [sealed.address, page.address], login });
  const failure = await fails(t, provider.wrap(KEK, DEK, CONTEXT, call()), 'unreachable');
  t.true(failure?.message.includes(`from ${sealed.address}: Vault is sealed; `), failure?.message);
  t.true(failure?.message.includes(`HTTP 502 from ${page.address}, and not in the form of Vault`), failure?.message);
});

test('a refusal is final: no other address is asked', async (t) => {
  const refusing = await startFakeVault(t, (_seen, response) =>
    json(response, 400, { errors: ['refusing to use soft-deleted key'] }),
  );
  const other = await startFakeVault(t, (_seen, response) => json(response, 200, ENCRYPTED));
  const provider = await openProvider(t, { addresses: [refusing.address, other.address], login });
  await fails(t, provider.wrap(KEK, DEK, CONTEXT, call()), 'refused', 'kek');
  t.is(other.seen.length, 0);
});

test('an address that does not answer costs one call its time, and the next call begins elsewhere', async (t) => {
  const silent = await startFakeVault(t, () => undefined);
  const good = await startFakeVault(t, (_seen, response) => json(response, 200, ENCRYPTED));
  const provider = await openProvider(t, { addresses: [silent.address, good.address], login });
  const short = call({ signal: AbortSignal.timeout(150) });
  await fails(t, provider.wrap(KEK, DEK, CONTEXT, short), 'unreachable');
  t.is(good.seen.length, 0);
  await provider.wrap(KEK, DEK, CONTEXT, call());
  t.is(silent.seen.length, 1);
});

test('an address that takes no connection does not use up the call', async (t) => {
  const good = await startFakeVault(t, (_seen, response) => json(response, 200, ENCRYPTED));
  // 192.0.2.0/24 leads nowhere (RFC 5737); where the network answers "no route", that is quicker still.
  const provider = await openProvider(t, { addresses: ['http://192.0.2.1:8200', good.address], login });
  const startedAtMs = performance.now();
  await provider.wrap(KEK, DEK, CONTEXT, call());
  t.true(performance.now() - startedAtMs < 3_000, `${performance.now() - startedAtMs} ms`);
});

test('a redirect is followed, with token and body, to an address of the configuration', async (t) => {
  const active = await startFakeVault(t, (_seen, response) => json(response, 200, DECRYPTED));
  const standby = await startFakeVault(t, ({ path }, response) =>
    response.writeHead(307, { location: `${active.address}${path}` }).end(),
  );
  const provider = await openProvider(t, { addresses: [standby.address, active.address], login });
  const wrapped = { kekVersion: '1', algorithm: 1, bytes: Buffer.from(ENCRYPTED.data.ciphertext) };
  t.deepEqual(Buffer.from(await provider.unwrap(KEK, wrapped, CONTEXT, call())), Buffer.from(DEK));
  t.like(active.seen[0], { method: 'POST', path: '/v1/transit/decrypt/orders', body: standby.seen[0]?.body });
});

test('a redirect to anywhere else is not followed', async (t) => {
  const thief = await startFakeVault(t, (_seen, response) => json(response, 200, DECRYPTED));
  const places = [
    `${thief.address}/v1/transit/encrypt/orders`,
    thief.address.replace('http:', 'https:'),
    '//127.0.0.1/v1/transit/encrypt/orders',
    '/v1/transit/encrypt/other',
    'not a place',
    'unix:/run/vault.sock',
  ];
  for (const location of places) {
    for (const status of [301, 302, 303, 307, 308]) {
      const standby = await startFakeVault(t, (_seen, response) => response.writeHead(status, { location }).end());
      const provider = await openProvider(t, { addresses: [standby.address], login });
      await fails(t, provider.wrap(KEK, DEK, CONTEXT, call()), 'unreachable');
    }
  }
  t.is(thief.seen.length, 0);
});

test('a redirect outside of the API is not followed, nor one without end', async (t) => {
  const outside = await startFakeVault(t, (_seen, response) =>
    response.writeHead(307, { location: `${outside.address}/ui/` }).end(),
  );
  const first = await openProvider(t, { addresses: [outside.address], login });
  await fails(t, first.wrap(KEK, DEK, CONTEXT, call()), 'unreachable');
  t.is(outside.seen.length, 1);

  const circle = await startFakeVault(t, ({ path }, response) =>
    response.writeHead(307, { location: `${circle.address}${path}` }).end(),
  );
  const second = await openProvider(t, { addresses: [circle.address], login });
  const failure = await fails(t, second.wrap(KEK, DEK, CONTEXT, call()), 'unreachable');
  t.regex(failure?.message ?? '', /more than 2 redirects/);
  t.is(circle.seen.length, 3);
});
