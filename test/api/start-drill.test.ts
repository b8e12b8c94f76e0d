import test, { type ExecutionContext } from 'ava';
import { type Api, AUDITOR, CUSTODIAN, makeApi, makeCall, OPERATOR, STRANGER, USER } from './parts.ts';

const TWO_MINUTES = { seconds: 120 };
/** Custodian of everything that has a KEK in `spare`, of all but one key in `shared`, and of nothing else. */
const LEAD = 6000;

/** `alone`: a key in upstream `spare`; `first` and `second`: keys in `shared`; none in `unused`. */
async function drillApi(t: ExecutionContext): Promise<Api> {
  const kek = (upstream: string, name: string) => ({ upstream, kek: `local:${name}` });
  const lead = { uid: LEAD, roles: ['custodian'] };
  const user = { uid: USER, roles: ['user'] };
  const api = await makeApi(
    t,
    'production',
    {
      alone: { recipients: [{ ...kek('spare', 'alone'), role: 'authority' }], allow: [lead, user] },
      first: { recipients: [{ ...kek('shared', 'first'), role: 'authority' }], allow: [lead] },
      second: {
        recipients: [{ ...kek('store', 'second'), role: 'authority' }],
        decrypt_with: [kek('shared', 'retired')],
        allow: [{ uid: LEAD, roles: ['auditor'] }],
      },
    },
    {},
    ['spare', 'shared', 'unused'],
  );
  await api.call('CreateKey', { key: 'alone', upstream: 'spare' }, makeCall(CUSTODIAN));
  return api;
}

const drillOf = (api: Api, upstream: string) =>
  api.administration.upstreams.find(({ name }) => name === upstream)?.drill;

test('a custodian of every key of an upstream makes it fail and hears until when; other upstreams answer', async (t) => {
  const api = await drillApi(t);
  const before = Date.now();
  const { ends_at: endsAt } = await api.call(
    'StartDrill',
    { upstream: 'spare', duration: TWO_MINUTES },
    makeCall(LEAD),
  );
  const endsAtMs = Number(endsAt.seconds) * 1_000 + endsAt.nanos / 1e6;
  t.true(endsAtMs >= before + 119_000 && endsAtMs <= Date.now() + 121_000, `${endsAtMs - before}`);
  t.is(drillOf(api, 'spare')?.failureClass, 'unreachable');
  t.is(drillOf(api, 'store'), undefined);
  t.is((await api.failure('Encrypt', { key: 'alone' })).reason, 'UPSTREAM_UNAVAILABLE');
  await t.notThrowsAsync(api.call('Encrypt', { key: 'orders' }));

  t.deepEqual(await api.call('StopDrill', { upstream: 'spare' }, makeCall(LEAD)), { stopped: true });
  t.is(drillOf(api, 'spare'), undefined);
  t.deepEqual(await api.call('StopDrill', { upstream: 'spare' }, makeCall(LEAD)), { stopped: false });
});

test('the class is the one that was asked for', async (t) => {
  const api = await drillApi(t);
  for (const failureClass of ['throttled', 'unauthenticated', 'refused', 'unreachable'] as const) {
    const request = { upstream: 'spare', duration: TWO_MINUTES, failure_class: failureClass };
    await api.call('StartDrill', request, makeCall(LEAD));
    t.is(drillOf(api, 'spare')?.failureClass, failureClass);
  }
});

test('nobody else may: a key that is missing is named to who may see it, and to nobody else', async (t) => {
  const api = await drillApi(t);
  for (const rpc of ['StartDrill', 'StopDrill']) {
    const failure = (upstream: string, uid: number) =>
      api.failure(rpc, { upstream, duration: TWO_MINUTES }, makeCall(uid));
    for (const uid of [USER, OPERATOR, AUDITOR, STRANGER]) {
      const { reason, message } = await failure('spare', uid);
      t.is(reason, 'POLICY_DENIED');
      t.is(message, `uid ${uid} (gid ${uid}) may not call ${rpc}`);
    }
    // `second` names `shared` in decrypt_with, and its auditor is no custodian.
    t.like(await failure('shared', LEAD), {
      reason: 'POLICY_DENIED',
      message: `uid ${LEAD} (gid ${LEAD}) may not call ${rpc} on key "second" that upstream shared serves; a drill takes a custodian of all of them`,
      metadata: { upstream: 'shared', key: 'second' },
    });
    const { reason, message, metadata } = await failure('store', CUSTODIAN);
    t.is(reason, 'POLICY_DENIED');
    t.regex(message, /on every key that upstream store serves/);
    t.deepEqual(metadata, { upstream: 'store' });
  }
  t.true(api.administration.upstreams.every(({ drill }) => drill === undefined));
});

test('an upstream of others looks like none', async (t) => {
  const api = await drillApi(t);
  const failures = [];
  for (const upstream of ['spare', 'unused', 'nowhere']) {
    failures.push(await api.failure('StartDrill', { upstream, duration: TWO_MINUTES }, makeCall(CUSTODIAN)));
  }
  t.deepEqual(
    failures.map(({ reason, message }) => `${reason} ${message.replace(/"\w+"/, 'it')}`),
    Array(3).fill(
      `POLICY_DENIED uid ${CUSTODIAN} (gid ${CUSTODIAN}) may not call StartDrill on upstream it; your keys have KEKs in: store`,
    ),
  );
});

test('who sees every key hears that there is no such upstream, and which there are', async (t) => {
  const api = await makeApi(t, 'development');
  const root = makeCall(0);
  const failure = async (upstream: string) => {
    const { reason, message } = await api.failure('StartDrill', { upstream, duration: TWO_MINUTES }, root);
    return `${reason} ${message}`;
  };
  t.is(
    await failure('vault'),
    'INVALID_REQUEST upstream: no key has a KEK in an upstream "vault"; keys have some in: store',
  );
  t.is(await failure(''), 'INVALID_REQUEST upstream: is empty; name an upstream of your keys: store');
  t.is(
    await failure('a b'.repeat(1_000)),
    'INVALID_REQUEST upstream: is not the name of an upstream of your keys: store',
  );
  // Root holds every role in the development profile.
  await t.notThrowsAsync(api.call('StartDrill', { upstream: 'store', duration: TWO_MINUTES }, root));
});

test('a drill lasts up to an hour, and is of a class that there is', async (t) => {
  const api = await drillApi(t);
  const message = async (request: object) => {
    const failed = await api.failure('StartDrill', { upstream: 'spare', ...request }, makeCall(LEAD));
    t.is(failed.reason, 'INVALID_REQUEST');
    return failed.message;
  };
  t.is(await message({}), 'duration: is not set; a drill lasts 1 ms to 1 h, 2 min for instance');
  for (const duration of [{}, { nanos: 999_999 }, { seconds: -1 }, { seconds: '-9223372036854775808' }]) {
    t.is(await message({ duration }), 'duration: is under 1 ms; a drill lasts 1 ms to 1 h');
  }
  for (const duration of [{ seconds: 3_600, nanos: 1_000_000 }, { seconds: '9223372036854775807' }]) {
    t.is(
      await message({ duration }),
      'duration: is over 1 h; start another drill when this one is over; a drill lasts 1 ms to 1 h',
    );
  }
  for (const failureClass of ['invalid', 'UNREACHABLE', 'constructor']) {
    t.is(
      await message({ duration: TWO_MINUTES, failure_class: failureClass }),
      'failure_class: is none; there is: unreachable, throttled, unauthenticated, refused',
    );
  }
  t.is(drillOf(api, 'spare'), undefined);
  for (const duration of [{ seconds: 3_600 }, { nanos: 1_000_000 }]) {
    await t.notThrowsAsync(api.call('StartDrill', { upstream: 'spare', duration }, makeCall(LEAD)));
  }
});
