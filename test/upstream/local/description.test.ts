import test from 'ava';
import { describeKek } from '../../../src/upstream/local/description.ts';
import { kekRecord, versionRecord } from './fixture.ts';

const NEVER = { rotateAfterMs: undefined, maxVersions: undefined, expiresAt: undefined };
const DAY_MS = 86_400_000;

test('callers see what there is to see, and nothing that does not apply', (t) => {
  const versions = [
    versionRecord('orders', 1, { state: 'destroyed', wrappedKey: null, changedAt: 7, changedBy: 'uid 1, uid 2' }),
    versionRecord('orders', 2, { createdAt: 5, createdBy: 'rotation schedule', changedAt: 6 }),
  ];
  const stored = {
    record: kekRecord('orders', { changedAt: 8, changedBy: 'uid 9', labels: new Map([['team', 'payments']]) }),
    versions: new Map(versions.map((version) => [version.version, version])),
    partitions: new Map(),
  };
  const described = {
    uri: 'local:0123456789abcdef/orders',
    state: 'active' as const,
    stateChangedAt: 8,
    stateChangedBy: 'uid 9',
    versions: [
      {
        version: '1',
        state: 'destroyed',
        createdAt: 1,
        createdBy: 'uid 2001',
        destroyedAt: 7,
        destroyedBy: 'uid 1, uid 2',
      },
      { version: '2', state: 'active', createdAt: 5, createdBy: 'rotation schedule' },
    ],
    labels: new Map([['team', 'payments']]),
  };
  t.deepEqual(describeKek('0123456789abcdef', stored, NEVER, 10), described);
  t.deepEqual(describeKek('0123456789abcdef', stored, { ...NEVER, expiresAt: 99 }, 10), {
    ...described,
    expiresAt: 99,
  });

  const deletion = { requestedBy: ['uid 1'], waitingPeriodMs: 7 * DAY_MS, requestedAt: 10, at: null };
  const asked = { ...stored, record: { ...stored.record, deletion } };
  const shown = { requestedBy: ['uid 1'], waitingPeriodMs: 7 * DAY_MS, at: undefined };
  t.deepEqual(describeKek('0123456789abcdef', asked, NEVER, 11), { ...described, deletion: shown });
  t.deepEqual(describeKek('0123456789abcdef', asked, NEVER, 10 + DAY_MS), described, 'a request that lapsed is none');
});

test('the disabled partitions, as of when they are read', (t) => {
  const partition = (keyName: string, pairs: string) => ({
    kek: 'orders',
    keyName,
    pairs,
    disabledAt: 9,
    disabledBy: 'uid 3',
  });
  const partitions = new Map([['1', partition('orders', '[["tenant","acme"]]')]]);
  const { disabledPartitions } = describeKek(
    '0123456789abcdef',
    { record: kekRecord('orders'), versions: new Map(), partitions },
    NEVER,
    10,
  );
  const acme = { keyName: 'orders', pairs: new Map([['tenant', 'acme']]), disabledAt: 9, disabledBy: 'uid 3' };
  t.deepEqual([...disabledPartitions!], [acme]);
  partitions.set('2', partition('carts', '[["region","eu"],["tenant","bolt"]]'));
  const pairs = new Map([
    ['region', 'eu'],
    ['tenant', 'bolt'],
  ]);
  t.deepEqual([...disabledPartitions!], [acme, { ...acme, keyName: 'carts', pairs }]);
});
