import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { createKey, freeKey, openArena } from '../../../../src/crypto/native.ts';
import { ChildUpstream } from '../../../../src/upstream/child/child-upstream.ts';
import type { Handover } from '../../../../src/upstream/child/handover.ts';
import { monotonicMs } from '../../../../src/upstream/child/monotonic.ts';
import { parseLeft } from '../../../../src/upstream/vault-transit/login/left.ts';
import { vaultTransit } from '../../../../src/upstream/vault-transit/options.ts';
import { open } from '../../../../src/upstream/vault-transit/provider.ts';
import { live } from '../../../contract/upstream-context.ts';
import { fails } from '../../../contract/upstream-contract.ts';
import { DECRYPTED, ENCRYPTED, json, startFakeVault } from '../fake-vault.ts';
import { CONTEXT, call, DEK, secretFile } from '../world.ts';

const HELD = { token: 's.x', expiresAtMs: 1_234.5, firstTtlMs: 60_000 };
const REFUSAL = { digest: '00ff', message: 'no', untilMs: 5 };

test('what a child leaves is read back, a token that never ends too', (t) => {
  for (const expiresAtMs of [1_234.5, Number.POSITIVE_INFINITY]) {
    const left = { held: { ...HELD, expiresAtMs }, refusal: REFUSAL };
    t.deepEqual(parseLeft(JSON.parse(JSON.stringify(left))), left);
  }
});

test('what is not in form was not left', (t) => {
  const nothing = { held: undefined, refusal: undefined };
  for (const note of [undefined, null, 's.x', [], {}, HELD, { held: 1, refusal: [] }])
    t.deepEqual(parseLeft(note), nothing);
  for (const wrong of [
    { token: 7 },
    { token: 'a\r\nb: c' },
    { token: '' },
    { expiresAtMs: '1' },
    { firstTtlMs: null },
  ]) {
    t.deepEqual(parseLeft({ held: { ...HELD, ...wrong }, refusal: REFUSAL }), { held: undefined, refusal: REFUSAL });
  }
  for (const wrong of [{ digest: 7 }, { message: null }, { untilMs: '1' }]) {
    t.deepEqual(parseLeft({ held: HELD, refusal: { ...REFUSAL, ...wrong } }), { held: HELD, refusal: undefined });
  }
});

test('what no child can have left was not left: no pause and no life without an end', (t) => {
  const nowMs = 1_000_000;
  const left = (held: object, refusal: object = {}) =>
    parseLeft({ held: { ...HELD, ...held }, refusal: { ...REFUSAL, ...refusal } }, nowMs);
  for (const untilMs of [0, nowMs, nowMs + 240_000]) t.is(left({}, { untilMs }).refusal?.untilMs, untilMs);
  // JSON.parse reads 1e999 as Infinity.
  const wrong = [-1, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const untilMs of [...wrong, nowMs + 240_001, Number.MAX_SAFE_INTEGER]) {
    t.is(left({}, { untilMs }).refusal, undefined, `${untilMs}`);
    t.truthy(left({}, { untilMs }).held);
  }
  const years = (count: number) => count * 365 * 86_400_000;
  for (const ttlMs of [0, 60_000, years(10)]) {
    t.like(left({ expiresAtMs: nowMs + ttlMs, firstTtlMs: ttlMs }).held, { expiresAtMs: nowMs + ttlMs });
  }
  for (const value of [...wrong, nowMs + years(10) + 1]) {
    t.is(left({ expiresAtMs: value }).held, undefined, `${value}`);
    t.is(left({ firstTtlMs: value }).held, undefined, `${value}`);
  }
});

test('AppRole: a note of a refusal that would never end keeps nobody from logging in', async (t) => {
  const { address, asked } = await countingVault(t);
  const login = { method: 'approle', roleIdFile: secretFile(t, 'r'), secretIdFile: secretFile(t, 's') } as const;
  const digest = createHash('sha256')
    .update(JSON.stringify({ role_id: 'r', secret_id: 's' }))
    .digest('hex');
  const handover = memory();
  const refused = async (untilMs: number) => {
    handover.write({ refusal: { digest, message: 'refused before', untilMs } });
    const provider = await open({ type: 'vault-transit', addresses: [address], login }, {}, handover);
    t.teardown(() => provider.close(true));
    return provider.wrap('vault-transit:transit/keys/orders', DEK, CONTEXT, call());
  };
  await fails(t, refused(monotonicMs() + 200_000), 'unauthenticated');
  t.is(asked('/login').length, 0);
  await refused(1e300);
  t.is(asked('/login').length, 1);
});

/** A Vault that logs in for tokens of an hour, and a count of what it was asked. */
async function countingVault(t: ExecutionContext) {
  let logins = 0;
  const vault = await startFakeVault(t, ({ path }, response) => {
    if (path.endsWith('/login')) {
      json(response, 200, { auth: { client_token: `s.${++logins}`, lease_duration: 3600, renewable: true } });
    } else if (path.endsWith('/lookup-self')) json(response, 200, { data: { ttl: 3600, renewable: true } });
    else json(response, 200, path.includes('decrypt') ? DECRYPTED : ENCRYPTED);
  });
  const asked = (end: string) => vault.seen.filter(({ path }) => path.endsWith(end));
  return { address: vault.address, asked };
}

test('AppRole: one login serves one child process after the other', async (t) => {
  openArena({ size: 1 << 20, lock: 'best-effort' });
  const { address, asked } = await countingVault(t);
  const files = { roleIdFile: secretFile(t, 'role'), secretIdFile: secretFile(t, 'secret') };
  const options = { type: 'vault-transit', addresses: [address], login: { method: 'approle', ...files } } as const;
  const upstream = await ChildUpstream.open({
    facts: vaultTransit,
    options: { ...options, maxCalls: 1, warmChild: false },
    onWarning: () => undefined,
  });
  const dek = createKey('dek');
  const children = new Set<number>();
  for (let made = 0; made < 4; made++) {
    const wrapped = upstream.wrap('vault-transit:transit/keys/orders', dek, CONTEXT, live());
    for (const pid of upstream.pids) children.add(pid);
    await wrapped;
    // Its last one ends before the next one begins, so that it has handed over.
    while (upstream.pids.length > 0) await sleep(5);
  }
  freeKey(dek);
  t.is(children.size, 4);
  t.is(asked('/login').length, 1);
  t.is(asked('/revoke-self').length, 0);
  await upstream.close();
});

test('what was handed over: a living token is used, a dead one is not, and the last child revokes it', async (t) => {
  const { address, asked } = await countingVault(t);
  const login = { method: 'approle', roleIdFile: secretFile(t, 'r'), secretIdFile: secretFile(t, 's') } as const;
  const handover = memory();
  const next = () => open({ type: 'vault-transit', addresses: [address], login }, {}, handover);
  const kek = 'vault-transit:transit/keys/orders';
  const first = await next();
  await first.wrap(kek, DEK, CONTEXT, call());
  await first.close(true);
  const second = await next();
  await second.wrap(kek, DEK, CONTEXT, call());
  t.is(asked('/login').length, 1);
  await second.wrap(kek, DEK, CONTEXT, call({ fresh: true }));
  t.is(asked('/login').length, 2, 'a confirming call logs in anew');
  await second.close(true);
  handover.write({ held: { token: 's.2', expiresAtMs: 1, firstTtlMs: 1 } });
  const third = await next();
  await third.wrap(kek, DEK, CONTEXT, call());
  t.is(asked('/login').length, 3, 'what has expired is not tried');
  await third.close(true);
  t.is(asked('/revoke-self').length, 0);
  await (await next()).close();
  t.deepEqual(
    asked('/revoke-self').map(({ token }) => token),
    ['s.3'],
  );
});

test('AppRole: a refused login is not tried again, by no child, before its files change', async (t) => {
  const vault = await startFakeVault(t, ({ path, body }, response) => {
    if (!path.endsWith('/login')) json(response, 200, ENCRYPTED);
    else if (!body.includes('right')) json(response, 400, { errors: ['invalid role or secret ID'] });
    else json(response, 200, { auth: { client_token: 's.x', lease_duration: 3600, renewable: true } });
  });
  const login = { method: 'approle', roleIdFile: secretFile(t, 'r'), secretIdFile: secretFile(t, 'wrong') } as const;
  const handover = memory();
  const wrap = async (fresh = false) => {
    const provider = await open({ type: 'vault-transit', addresses: [vault.address], login }, {}, handover);
    t.teardown(() => provider.close(true));
    for (let calls = 0; calls < 2; calls++) {
      await provider.wrap('vault-transit:transit/keys/orders', DEK, CONTEXT, call({ fresh }));
    }
  };
  const logins = () => vault.seen.filter(({ path }) => path.endsWith('/login')).length;
  for (const fresh of [false, true, false]) {
    const failure = await fails(t, wrap(fresh), 'unauthenticated');
    t.regex(failure?.message ?? '', /invalid role or secret ID; it is not tried again for 4 minutes/);
  }
  t.is(logins(), 1);
  writeFileSync(login.secretIdFile, 'wrong-too');
  await fails(t, wrap(), 'unauthenticated');
  t.is(logins(), 2);
  writeFileSync(login.secretIdFile, 'right');
  await wrap();
  t.is(logins(), 3);
});

test('a token in a file is looked up once for all children, and another one in the file again', async (t) => {
  const { address, asked } = await countingVault(t);
  const login = { method: 'token', file: secretFile(t, 's.one') } as const;
  const handover = memory();
  const next = async () => {
    const provider = await open({ type: 'vault-transit', addresses: [address], login }, {}, handover);
    await provider.wrap('vault-transit:transit/keys/orders', DEK, CONTEXT, call());
    // The lookup goes on beside the call.
    for (const until = Date.now() + 5_000; handover.read() === undefined && Date.now() < until; ) await sleep(5);
    await provider.close(true);
  };
  await next();
  await next();
  t.is(asked('/lookup-self').length, 1);
  writeFileSync(login.file, 's.two');
  await next();
  t.is(asked('/lookup-self').length, 2);
  t.is(asked('/revoke-self').length, 0);
});

test('a token in a file that another child has renewed is not renewed again', async (t) => {
  const vault = await startFakeVault(t, ({ path }, response) => {
    if (path.endsWith('/lookup-self')) json(response, 200, { data: { ttl: 2, renewable: true } });
    else json(response, 200, { auth: { client_token: 's.one', lease_duration: 2, renewable: true } });
  });
  const login = { method: 'token', file: secretFile(t, 's.one') } as const;
  const renewals = () => vault.seen.filter(({ path }) => path.endsWith('/renew-self')).length;
  for (const isRenewed of [false, true]) {
    const handover = memory();
    const provider = await open({ type: 'vault-transit', addresses: [vault.address], login }, {}, handover);
    for (const until = Date.now() + 5_000; handover.read() === undefined && Date.now() < until; ) await sleep(5);
    const { held } = parseLeft(handover.read());
    t.is(held?.token, 's.one');
    const before = renewals();
    if (isRenewed) handover.write({ held: { ...held, expiresAtMs: held!.expiresAtMs + 3_600_000 } });
    for (const until = Date.now() + 2_500; renewals() === before && Date.now() < until; ) await sleep(20);
    t.is(renewals() > before, !isRenewed);
    await provider.close(true);
  }
});

/** In this process, and as JSON like the real one. */
function memory(): Handover {
  let note: string | undefined;
  return {
    read: () => (note === undefined ? undefined : JSON.parse(note)),
    write: (value) => {
      note = JSON.stringify(value);
    },
  };
}
