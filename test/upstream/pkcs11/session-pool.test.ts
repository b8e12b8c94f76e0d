import { setTimeout } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { type Session, SessionPool, type SessionPoolOptions } from '../../../src/upstream/pkcs11/session-pool.ts';

const HUNG_MS = 50;

/** A pool of a token that notes what is asked of it. */
function poolOf(
  options: Partial<Pick<SessionPoolOptions, 'maxSessions'>> & { room?: number; sessionsLeft?: number } = {},
) {
  const asked: string[] = [];
  const handles = new Set<number>();
  let last = 0;
  let left = options.sessionsLeft ?? Number.POSITIVE_INFINITY;
  const open = (): Buffer => {
    if (left === 0) throw new Error('CKR_SESSION_COUNT:177');
    left--;
    last++;
    handles.add(last);
    return Buffer.of(last);
  };
  const pool = new SessionPool({
    label: 'hsm-a',
    maxSessions: options.maxSessions ?? 4,
    source: {
      logIn: () => {
        asked.push('login');
        return { anchor: open(), room: options.room ?? 0 };
      },
      open,
      close: (session) => {
        left++;
        handles.delete(session[0]!);
      },
    },
    onLoginEnded: () => asked.push('ended'),
    onGivenUp: () => asked.push('given up'),
    onStuck: () => asked.push('stuck'),
    hungMs: HUNG_MS,
  });
  return { pool, asked, handles };
}

const patient = (): AbortSignal => new AbortController().signal;

async function take(pool: SessionPool, sessions: number): Promise<Session[]> {
  const taken: Session[] = [];
  for (let session = 0; session < sessions; session++) taken.push(await pool.take(patient()));
  return taken;
}

/** Whether it is pending still, after everything that is ready has run. */
async function isWaiting(promise: Promise<unknown>): Promise<boolean> {
  const waits = Symbol('waits');
  return (await Promise.race([promise, setTimeout(5, waits)])) === waits;
}

async function isGivenUp(t: ExecutionContext, call: Promise<unknown>): Promise<void> {
  await t.throwsAsync(call, { name: 'UpstreamFailure', message: 'the call was given up' });
}

test('calls get sessions of their own, and beyond the limit wait in their order', async (t) => {
  const { pool, asked, handles } = poolOf({ maxSessions: 2 });
  const [first, second] = await take(pool, 2);
  t.not(first!.handle, second!.handle);
  const order: string[] = [];
  const inOrder = async (name: string): Promise<Session> => {
    const session = await pool.take(patient());
    order.push(name);
    return session;
  };
  const third = inOrder('third');
  const fourth = inOrder('fourth');
  t.true(await isWaiting(third));
  pool.giveBack(first!);
  t.is(await third, first!);
  t.true(await isWaiting(fourth));
  pool.giveBack(second!);
  await fourth;
  t.deepEqual(order, ['third', 'fourth']);
  t.is(handles.size, 3, 'two, and the one that holds the login');
  t.deepEqual(asked, ['login']);
});

test('a call that is given up while it waits leaves the queue', async (t) => {
  const { pool, asked } = poolOf({ maxSessions: 1 });
  const [session] = await take(pool, 1);
  const control = new AbortController();
  const waiting = pool.take(control.signal);
  const next = pool.take(patient());
  control.abort();
  await isGivenUp(t, waiting);
  await isGivenUp(t, pool.take(control.signal));
  pool.giveBack(session!);
  t.is(await next, session!);
  t.deepEqual(asked, ['login']);
});

test('a session that is spent, or of a login that ended, is closed when it comes back', async (t) => {
  const { pool, asked, handles } = poolOf();
  const [spent, stale, idle] = await take(pool, 3);
  pool.giveBack(idle!);
  spent!.isSpent = true;
  pool.giveBack(spent!);
  t.is(handles.size, 3);
  pool.endLogin(0);
  t.is(handles.size, 1, 'only the one that is at work');
  const [fresh] = await take(pool, 1);
  t.is(fresh!.login, 1);
  pool.giveBack(stale!);
  t.is(handles.size, 2);
  t.deepEqual(asked, ['login', 'ended', 'login']);
});

test('of many that find a login lost one ends it', async (t) => {
  const { pool, asked } = poolOf();
  const sessions = await take(pool, 4);
  for (const { login } of sessions) pool.endLogin(login);
  for (const session of sessions) pool.giveBack(session);
  await take(pool, 4);
  t.deepEqual(asked, ['login', 'ended', 'login']);
});

test('the pool stays below what the token says it has', async (t) => {
  const { pool, handles } = poolOf({ room: 3 });
  await take(pool, 2);
  t.true(await isWaiting(pool.take(patient())));
  t.is(handles.size, 3);
});

test('a token without a session left fails the call, unless others work on some: then it waits', async (t) => {
  const none = poolOf({ sessionsLeft: 1 });
  await t.throwsAsync(none.pool.take(patient()), { message: 'CKR_SESSION_COUNT:177' });
  const some = poolOf({ sessionsLeft: 2 });
  const [session] = await take(some.pool, 1);
  const waiting = some.pool.take(patient());
  t.true(await isWaiting(waiting));
  some.pool.giveBack(session!);
  t.is(await waiting, session!);
});

test('a drained login ends when nobody works on a session, and nobody gets one before', async (t) => {
  const { pool, asked, handles } = poolOf();
  const [first, second] = await take(pool, 2);
  const drained = pool.drain(patient());
  const waiting = pool.take(patient());
  pool.giveBack(first!);
  t.true(await isWaiting(drained));
  t.true(await isWaiting(waiting));
  pool.giveBack(second!);
  await drained;
  t.is((await waiting).login, 1);
  t.deepEqual(asked, ['login', 'ended', 'login']);
  t.is(handles.size, 2);
});

test('who waits for a drained login and is given up lets the others go on', async (t) => {
  const { pool, asked } = poolOf();
  await take(pool, 1);
  const control = new AbortController();
  const drained = pool.drain(control.signal);
  const waiting = pool.take(patient());
  control.abort();
  await isGivenUp(t, drained);
  t.is((await waiting).login, 0);
  t.deepEqual(asked, ['login']);
});

test('a login is not drained while a call that was given up is at work', async (t) => {
  const { pool } = poolOf();
  const control = new AbortController();
  const session = await pool.take(control.signal);
  const drained = pool.drain(patient());
  control.abort();
  await t.throwsAsync(drained, { message: /does not return/ });
  await t.throwsAsync(pool.drain(patient()), { message: /does not return/ });
  pool.giveBack(session);
  await pool.drain(patient());
});

test('a call that hangs keeps its session, and stops no other while some return', async (t) => {
  const { pool, asked } = poolOf({ maxSessions: 2 });
  const control = new AbortController();
  const hanging = await pool.take(control.signal);
  control.abort();
  for (const endMs = performance.now() + 2 * HUNG_MS; performance.now() < endMs; await setTimeout(5)) {
    const session = await pool.take(patient());
    t.not(session, hanging);
    pool.giveBack(session);
  }
  t.true(pool.isHung);
  t.false(pool.isStuck);
  pool.giveBack(hanging);
  t.false(pool.isHung);
  t.deepEqual(asked, ['login', 'given up']);
});

test('a token at which a call hangs and none has returned since is stuck, until one returns', async (t) => {
  const { pool, asked } = poolOf();
  const control = new AbortController();
  const hanging = await pool.take(control.signal);
  control.abort();
  await setTimeout(2 * HUNG_MS);
  t.true(pool.isStuck);
  t.deepEqual(asked, ['login', 'given up', 'stuck']);
  await t.throwsAsync(pool.take(patient()), { message: 'token hsm-a: a call of its library does not return' });
  pool.giveBack(hanging);
  pool.giveBack(await pool.take(patient()));
});

test('a call that returns late, but returns, is no hang', async (t) => {
  const { pool, asked } = poolOf();
  const control = new AbortController();
  const late = await pool.take(control.signal);
  control.abort();
  await setTimeout(HUNG_MS / 5);
  pool.giveBack(late);
  await setTimeout(2 * HUNG_MS);
  t.false(pool.isHung);
  t.deepEqual(asked, ['login', 'given up']);
});

test('a closed pool gives no session, and is idle when the last one is back', async (t) => {
  const { pool } = poolOf();
  const control = new AbortController();
  const session = await pool.take(control.signal);
  pool.close();
  await t.throwsAsync(pool.take(patient()), { message: 'token hsm-a was let go' });
  const idle = pool.idle(patient());
  control.abort();
  t.true(await isWaiting(idle));
  pool.giveBack(session);
  await idle;
});
