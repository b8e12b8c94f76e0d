import type { ServerResponse } from 'node:http';
import test from 'ava';
import { fails } from '../../contract/upstream-contract.ts';
import { ALIVE, DECRYPTED, DENIED, ENCRYPTED, json, startFakeVault } from './fake-vault.ts';
import { CONTEXT, call, DEK, openProvider } from './world.ts';

const KEK = 'vault-transit:transit/keys/orders';
const WRAPPED = { kekVersion: '1', algorithm: 1, bytes: Buffer.from(ENCRYPTED.data.ciphertext) };
const login = { method: 'proxy' } as const;
const MIB = Buffer.alloc(1 << 20, 0x20);

const outages: readonly [title: string, answer: (response: ServerResponse) => void][] = [
  [
    "a proxy's page with 403",
    (response) => response.writeHead(403, { 'content-type': 'text/html' }).end('<html>Forbidden'),
  ],
  ["a proxy's 403 in JSON of its own", (response) => json(response, 403, { error: 'permission denied' })],
  ['a 403 with another text', (response) => json(response, 403, { errors: ['blocked by policy'] })],
  ["a proxy's 404", (response) => response.writeHead(404).end('not found')],
  ["a proxy's 429", (response) => response.writeHead(429).end('slow down')],
  ['a 400 that nobody knows', (response) => json(response, 400, { errors: ['something new'] })],
  ['two known errors at once', (response) => json(response, 400, { errors: ['encryption key not found', 'and more'] })],
  [
    '412, the state of a replica is too old',
    (response) => json(response, 412, { errors: ['required index state not present'] }),
  ],
  ['472, a disaster recovery standby', (response) => json(response, 472, { errors: [] })],
  ['473, a performance standby', (response) => json(response, 473, { errors: [] })],
  ['500', (response) => json(response, 500, { errors: ['internal error'] })],
  ['502 with a page', (response) => response.writeHead(502).end('<html>')],
  ['success without JSON', (response) => response.writeHead(200).end('<html>welcome to the captive portal')],
  ['success with an empty body', (response) => response.writeHead(200).end()],
  ['success with other JSON', (response) => json(response, 200, { data: { hello: 'world' } })],
  ['success with null', (response) => json(response, 200, null)],
  ['204', (response) => response.writeHead(204).end()],
  [
    'a body that ends early',
    (response) => response.writeHead(200, { 'content-length': '1000' }).write('{"data":', () => response.destroy()),
  ],
  ['a connection that breaks', (response) => response.destroy()],
  ['HTTP that is none', (response) => response.socket?.end('SSH-2.0-OpenSSH_9.2\r\n')],
  ['headers without end', (response) => response.writeHead(200, { 'x-long': 'a'.repeat(100_000) }).end('{}')],
];

for (const [title, answer] of outages) {
  test(`an outage: ${title}`, async (t) => {
    const vault = await startFakeVault(t, (_seen, response) => answer(response));
    const provider = await openProvider(t, { addresses: [vault.address], login });
    await fails(t, provider.wrap(KEK, DEK, CONTEXT, call()), 'unreachable');
    await fails(t, provider.unwrap(KEK, WRAPPED, CONTEXT, call()), 'unreachable');
    await fails(t, provider.describe(KEK, call()), 'unreachable');
  });
}

test('an answer without end is not read to its end', async (t) => {
  let written = 0;
  const vault = await startFakeVault(t, (_seen, response) => {
    response.writeHead(200, { 'content-length': String(2 ** 30) });
    const more = (): void => {
      if (response.destroyed || written >= 2 ** 30) return;
      written += MIB.length;
      response.write(MIB, more);
    };
    more();
  });
  const provider = await openProvider(t, { addresses: [vault.address], login });
  const failure = await fails(t, provider.unwrap(KEK, WRAPPED, CONTEXT, call()), 'unreachable');
  t.regex(failure?.message ?? '', /an answer of over 65536 bytes/);
  t.true(written < 2 ** 26, `${written} bytes were taken`);
});

test('a slow answer ends with the signal, in time', async (t) => {
  const vault = await startFakeVault(t, (_seen, response) => {
    response.writeHead(200);
    const drip = setInterval(() => response.write(' '), 20);
    response.on('close', () => clearInterval(drip));
  });
  const provider = await openProvider(t, { addresses: [vault.address], login });
  const startedAtMs = performance.now();
  const short = call({ signal: AbortSignal.timeout(200) });
  await fails(t, provider.wrap(KEK, DEK, CONTEXT, short), 'unreachable');
  t.true(performance.now() - startedAtMs < 3_000);
});

test('connections are kept; a fresh call has one of its own', async (t) => {
  const vault = await startFakeVault(t, (_seen, response) => json(response, 200, DECRYPTED));
  const provider = await openProvider(t, { addresses: [vault.address], login });
  for (let times = 0; times < 5; times++) await provider.unwrap(KEK, WRAPPED, CONTEXT, call());
  t.is(vault.connections(), 1);
  await provider.unwrap(KEK, WRAPPED, CONTEXT, call({ fresh: true }));
  t.is(vault.connections(), 2);
});

test('a kept connection that the server closed is made anew, unseen', async (t) => {
  const vault = await startFakeVault(t, (_seen, response, count) => {
    if (count === 2) response.socket?.resetAndDestroy();
    else json(response, 200, ENCRYPTED);
  });
  const provider = await openProvider(t, { addresses: [vault.address], login });
  await provider.wrap(KEK, DEK, CONTEXT, call());
  await provider.wrap(KEK, DEK, CONTEXT, call());
  t.is(vault.seen.length, 3);
});

test('throttled, with the pause that was asked for', async (t) => {
  const body = { errors: ['request path "transit/encrypt/orders": rate limit quota exceeded'] };
  for (const [header, pause] of [
    ['7', 7_000],
    ['soon', undefined],
    ['999999', 86_400_000],
  ] as const) {
    const vault = await startFakeVault(t, (_seen, response) => json(response, 429, body, { 'retry-after': header }));
    const provider = await openProvider(t, { addresses: [vault.address], login });
    const failure = await fails(t, provider.wrap(KEK, DEK, CONTEXT, call()), 'throttled');
    t.is(failure?.retryAfterMs, pause);
  }
});

test('a 403 counts against the key only when the lookup of the token says that it lives', async (t) => {
  const lookups: readonly [status: number, body: unknown, meaning: Parameters<typeof fails>[2]][] = [
    [200, ALIVE, 'refused'],
    [403, { errors: ['permission denied'] }, 'unauthenticated'],
    [403, '<html>', 'unreachable'],
    [500, { errors: ['internal error'] }, 'unreachable'],
    [404, { errors: [] }, 'unreachable'],
    [200, { hello: 'world' }, 'unreachable'],
    [429, { errors: ['request path "auth/token/lookup-self": rate limit quota exceeded'] }, 'throttled'],
  ];
  for (const [status, body, meaning] of lookups) {
    const vault = await startFakeVault(t, ({ path }, response) => {
      if (path.endsWith('lookup-self')) json(response, status, body);
      else json(response, 403, DENIED);
    });
    const provider = await openProvider(t, { addresses: [vault.address], login });
    await fails(
      t,
      provider.unwrap(KEK, WRAPPED, CONTEXT, call()),
      meaning,
      meaning === 'refused' ? 'access' : undefined,
    );
  }
});

test('what is sent says nothing that it need not', async (t) => {
  const vault = await startFakeVault(t, (_seen, response) => json(response, 200, ENCRYPTED));
  const provider = await openProvider(t, { addresses: [vault.address], login });
  await provider.wrap(KEK, DEK, CONTEXT, call());
  const [seen] = vault.seen;
  t.like(seen, { method: 'POST', path: '/v1/transit/encrypt/orders', token: undefined });
  t.deepEqual(JSON.parse(seen?.body ?? ''), {
    plaintext: Buffer.from(DEK).toString('base64'),
    associated_data: Buffer.from(CONTEXT.encoded).toString('base64'),
    type: 'ecdsa-p256',
  });
});
