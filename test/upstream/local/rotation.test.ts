import test from 'ava';
import type { VersionRecord } from '../../../src/upstream/local/records.ts';
import { activeVersion, destroyed, isRotationDue, policyOf, rotated } from '../../../src/upstream/local/rotation.ts';
import type { StoredKek } from '../../../src/upstream/local/store.ts';
import type { KekVersionState } from '../../../src/upstream/provider.ts';
import { kekRecord, versionRecord } from './fixture.ts';

const NEVER = { rotateAfterMs: undefined, maxVersions: undefined, expiresAt: undefined };

/** A KEK whose versions 1, 2, … have these states. */
function stored(...states: KekVersionState[]): StoredKek {
  const versions = states.map((state, index) =>
    versionRecord('orders', index + 1, {
      state,
      createdAt: index,
      ...(state === 'destroyed' ? { wrappedKey: null } : {}),
    }),
  );
  return {
    record: kekRecord('orders'),
    versions: new Map(versions.map((version) => [version.version, version])),
    partitions: new Map(),
  };
}

function next(kek: StoredKek): VersionRecord {
  const times = { createdAt: 9, createdBy: 'rotation schedule', changedAt: 9, changedBy: 'rotation schedule' };
  return versionRecord('orders', kek.versions.size + 1, times);
}

function changes(kek: StoredKek, maxVersions?: number): string[] {
  return rotated(kek, next(kek), maxVersions).map(({ version, state }) => `${version} ${state}`);
}

test('a KEK has what `keks` says of it, else what the schedule says', (t) => {
  const schedule = { rotateAfterMs: 90, maxVersions: 20 };
  const keks = new Map([
    ['orders', { rotateAfterMs: 30 }],
    ['carts', { maxVersions: 5, expiresAt: 7 }],
  ]);
  t.deepEqual(policyOf({}, 'orders'), NEVER);
  t.deepEqual(policyOf({ schedule, keks }, 'orders'), { rotateAfterMs: 30, maxVersions: 20, expiresAt: undefined });
  t.deepEqual(policyOf({ schedule, keks }, 'carts'), { rotateAfterMs: 90, maxVersions: 5, expiresAt: 7 });
  t.deepEqual(policyOf({ schedule, keks }, 'else'), { rotateAfterMs: 90, maxVersions: 20, expiresAt: undefined });
});

test('a rotation makes the version that wrapped decrypt-only', (t) => {
  const kek = stored('decrypt-only', 'active');
  t.deepEqual(changes(kek), ['2 decrypt-only', '3 active']);
  const [former] = rotated(kek, next(kek), undefined);
  t.like(former, { createdAt: 1, createdBy: 'uid 2001', changedAt: 9, changedBy: 'rotation schedule' });
  t.is(former?.wrappedKey, kek.versions.get(2)!.wrappedKey);
});

test('all but the newest max_versions are archived', (t) => {
  t.deepEqual(changes(stored('decrypt-only', 'active'), 3), ['2 decrypt-only', '3 active']);
  t.deepEqual(changes(stored('decrypt-only', 'active'), 2), ['1 archived', '2 decrypt-only', '3 active']);
  t.deepEqual(changes(stored('active'), 1), ['1 archived', '2 active']);
  t.deepEqual(changes(stored('archived', 'decrypt-only', 'active'), 3), ['3 decrypt-only', '4 active']);
  t.deepEqual(changes(stored('archived', 'decrypt-only', 'active'), 2), ['2 archived', '3 decrypt-only', '4 active']);
  // The number was made smaller.
  const many = stored('decrypt-only', 'decrypt-only', 'decrypt-only', 'active');
  t.deepEqual(changes(many, 2), ['1 archived', '2 archived', '3 archived', '4 decrypt-only', '5 active']);
  const [archived] = rotated(many, next(many), 4);
  t.like(archived, { version: 1, state: 'archived', changedBy: 'max_versions', changedAt: 9 });
  t.deepEqual(changes(stored('archived', 'archived', 'active'), 9), ['3 decrypt-only', '4 active']);
});

test('a rotation is due at the age of the version that wraps', (t) => {
  const kek = stored('decrypt-only', 'active');
  const policy = { ...NEVER, rotateAfterMs: 30 };
  t.is(activeVersion(kek)?.version, 2);
  t.false(isRotationDue(kek, NEVER, Number.MAX_SAFE_INTEGER));
  t.false(isRotationDue(kek, policy, 30));
  t.true(isRotationDue(kek, policy, 31));
  t.false(isRotationDue(kek, policy, -1e15), 'a clock that was set back');
  t.false(isRotationDue(stored('decrypt-only'), policy, 1e15), 'no version wraps');
});

test('destruction ends every version that still has a key', (t) => {
  const kek = stored('destroyed', 'archived', 'decrypt-only', 'active');
  const ended = destroyed(kek, 12, 'uid 1, uid 2');
  t.deepEqual(
    ended.map(({ version }) => version),
    [2, 3, 4],
  );
  for (const version of ended) {
    t.like(version, { state: 'destroyed', wrappedKey: null, changedAt: 12, changedBy: 'uid 1, uid 2' });
    t.is(version.createdAt, version.version - 1);
  }
});
