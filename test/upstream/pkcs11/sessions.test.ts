import test, { type ExecutionContext } from 'ava';
import { dekId } from '../../../src/crypto/native.ts';
import type { WrappedDek } from '../../../src/upstream/provider.ts';
import { live } from '../../contract/upstream-context.ts';
import { requireKryoptic, startKryoptic } from '../../counterparts/kryoptic/start.ts';
import { aesKey, requireSoftHsm, startSoftHsm } from '../../counterparts/softhsm/start.ts';
import { ALL, count, FRESH, KEK, PIN, World } from './world.ts';

// Calls at one token at the same time, on sessions of their own.

const LIBRARIES = [
  { name: 'SoftHSM', start: startSoftHsm, require: requireSoftHsm },
  { name: 'kryoptic', start: startKryoptic, require: requireKryoptic },
];

for (const { name, start, require } of LIBRARIES) {
  const hsmTest = (title: string, check: (t: ExecutionContext) => Promise<void>): void => {
    test.serial(`${name}: ${title}`, async (t) => {
      if (require(t)) await check(t);
    });
  };

  hsmTest('64 unwraps at an HSM that takes 20 ms are answered side by side', async (t) => {
    // The threads that wait for the HSM take none of that.
    const world = await World.open(t, { hsm: start(), options: { memoryMib: 64 } });
    world.hsm.control();
    const { ids, wrapped } = await wrapMany(world, 8);
    const [before = 0] = count(world, 'C_OpenSession');
    world.hsm.control('C_Decrypt wait-20');
    const one = await timed(() => unwrapAll(world, wrapped, 1));
    t.deepEqual(one.result, ids);
    const all = await timed(() => unwrapAll(world, repeated(wrapped, 8), 64));
    t.deepEqual(all.result, repeated(ids, 8));
    // One after the other they take eight times as long as the eight did; on 16 sessions, a sixteenth of that.
    const serialMs = 8 * one.tookMs;
    t.true(all.tookMs < serialMs / 4, `${all.tookMs} ms; ${serialMs} ms one after the other`);
    const [after = 0] = count(world, 'C_OpenSession');
    t.is(before + after, 17, 'what max_sessions is without a setting, and the one that holds the login');
  });

  for (const [mechanism, allows] of [
    ['AES-GCM', ALL],
    ['a mechanism for objects', ['WRAP', 'UNWRAP']],
  ] as const) {
    hsmTest(`wraps and unwraps at once do not mix: ${mechanism}`, async (t) => {
      const world = await World.open(t, { hsm: start(), commands: [aesKey('orders', allows)] });
      const slow = ['C_Encrypt', 'C_Decrypt', 'C_WrapKey', 'C_UnwrapKey'].map((call) => `${call} wait-3`);
      world.hsm.control(...slow);
      const { ids, wrapped } = await wrapMany(world, 12);
      for (const control of [slow, []]) {
        world.hsm.control(...control);
        const opened = repeated(wrapped, 4).map((dek) => world.unwrap(dek));
        const made = await wrapMany(world, 24);
        t.deepEqual(await Promise.all(opened), repeated(ids, 4));
        t.deepEqual(await unwrapAll(world, made.wrapped, 24), made.ids);
      }
    });
  }

  hsmTest('a login that is lost under load is one login more', async (t) => {
    const world = await World.open(t, { hsm: start() });
    const { ids, wrapped } = await wrapMany(world, 16);
    for (let loss = 0; loss < 3; loss++) {
      world.hsm.control('C_Decrypt logout!', 'C_Decrypt wait-10');
      t.deepEqual(await unwrapAll(world, repeated(wrapped, 3), 48), repeated(ids, 3));
      t.deepEqual(count(world, 'C_Login'), [1]);
    }
  });

  hsmTest('a PIN that was changed meanwhile is tried once when a login is lost under load', async (t) => {
    const world = await World.open(t, { hsm: start() });
    const { wrapped } = await wrapMany(world, 16);
    world.writePin('wrong');
    world.hsm.control('C_Decrypt logout!', 'C_Decrypt wait-10');
    const outcomes = await Promise.allSettled(repeated(wrapped, 3).map((dek) => world.unwrap(dek)));
    const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
    t.true(failures.length > 0);
    for (const failure of failures) t.is(failure.class, 'unauthenticated', failure.message);
    t.deepEqual(count(world, 'C_Login'), [1]);
    world.writePin(PIN);
    await unwrapAll(world, wrapped, 16);
    t.deepEqual(count(world, 'C_Login'), [2]);
  });

  hsmTest('a session that is lost under load costs no other call', async (t) => {
    const world = await World.open(t, { hsm: start() });
    const { ids, wrapped } = await wrapMany(world, 16);
    for (const code of [0xb3, 0x32, 0x101]) {
      world.hsm.control(`C_Decrypt ${code}!`, 'C_Decrypt wait-10');
      t.deepEqual(await unwrapAll(world, repeated(wrapped, 3), 48), repeated(ids, 3));
      t.deepEqual(count(world, 'C_Login'), [1], String(code));
    }
  });

  hsmTest('a confirming call under load logs in again, and no other call notices', async (t) => {
    const world = await World.open(t, { hsm: start() });
    const { ids, wrapped } = await wrapMany(world, 16);
    world.hsm.control('C_Decrypt wait-10');
    const others = unwrapAll(world, repeated(wrapped, 3), 48);
    t.deepEqual(await world.unwrap(wrapped[0]!, KEK, FRESH), ids[0]);
    t.deepEqual(await others, repeated(ids, 3));
    t.deepEqual(count(world, 'C_Login'), [1]);
  });

  hsmTest('no more sessions than the setting, the token or its other users allow', async (t) => {
    for (const { maxSessions, control, opened } of [
      { maxSessions: 3, control: '', opened: 4 },
      { maxSessions: 16, control: 'C_GetTokenInfo sessions-5', opened: 5 },
      { maxSessions: 16, control: 'C_OpenSession limit-4', opened: 4 },
      { maxSessions: 16, control: 'C_OpenSession limit-2', opened: 2 },
    ]) {
      const world = await World.open(t, { hsm: start(), options: { maxSessions } });
      world.hsm.control('C_Decrypt wait-5', ...(control === '' ? [] : [control]));
      const { ids, wrapped } = await wrapMany(world, 8);
      t.deepEqual(await unwrapAll(world, repeated(wrapped, 3), 24), repeated(ids, 3));
      const [open = 0, closed = 0] = count(world, 'C_OpenSession', 'C_CloseSession');
      const refused = control.includes('limit') ? 1 : 0;
      t.deepEqual([open - refused, closed], [opened, 0], `${maxSessions} ${control}`);
    }
  });
}

/** Wrapped all at once, and their dek_ids. */
async function wrapMany(world: World, deks: number): Promise<{ ids: Buffer[]; wrapped: WrappedDek[] }> {
  const made = Array.from({ length: deks }, () => world.dek());
  const wrapped = await Promise.all(made.map((dek) => world.wrap(dek)));
  return { ids: made.map((dek) => dekId(dek)), wrapped };
}

/** Their dek_ids; `atOnce` is 1, or all of them. */
async function unwrapAll(world: World, wrapped: readonly WrappedDek[], atOnce: number): Promise<Buffer[]> {
  if (atOnce > 1) return Promise.all(wrapped.map((dek) => world.unwrap(dek, KEK, live())));
  const ids: Buffer[] = [];
  for (const dek of wrapped) ids.push(await world.unwrap(dek));
  return ids;
}

function repeated<Value>(values: readonly Value[], times: number): Value[] {
  return Array.from({ length: times }, () => values).flat();
}

async function timed<Result>(run: () => Promise<Result>): Promise<{ result: Result; tookMs: number }> {
  const beganMs = performance.now();
  const result = await run();
  return { result, tookMs: performance.now() - beganMs };
}
