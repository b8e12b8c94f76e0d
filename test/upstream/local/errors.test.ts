import test from 'ava';
import { DekdError, type Reason } from '../../../src/errors.ts';
import { UpstreamFailure } from '../../../src/upstream/failure.ts';
import {
  isDamage,
  keystoreFault,
  loadingFailure,
  openingError,
  wrappingFailure,
  writingFailure,
} from '../../../src/upstream/local/errors.ts';

const sqlite = (errcode: number, message = 'what SQLite says') =>
  Object.assign(new Error(message), { code: 'ERR_SQLITE_ERROR', errcode });
const coded = (code: string) => Object.assign(new Error(`${code}: what the system says`), { code });

const OPENING: readonly [unknown, Reason, RegExp][] = [
  [sqlite(5), 'UPSTREAM_UNAVAILABLE', /another process \(an agent or dekctl\) has it open/],
  [sqlite(8), 'UPSTREAM_UNAVAILABLE', /cannot be written by uid \d+ \(what SQLite says\); mount it read-write/],
  [sqlite(14), 'UPSTREAM_UNAVAILABLE', /cannot be written by uid/],
  [sqlite(13), 'UPSTREAM_UNAVAILABLE', /the disk is full; free some space/],
  // Extended codes keep the primary one in their low byte: SQLITE_IOERR_WRITE, SQLITE_CORRUPT_INDEX.
  [sqlite(778), 'UPSTREAM_UNAVAILABLE', /the disk could not be read or written \(what SQLite says\)/],
  [sqlite(779), 'UPSTREAM_FAULT', /keystore\.db is damaged \(what SQLite says\); put back a backup/],
  [sqlite(26), 'UPSTREAM_FAULT', /keystore\.db is damaged/],
  [coded('EACCES'), 'UPSTREAM_UNAVAILABLE', /cannot be written by uid \d+ \(EACCES\)/],
  [coded('EROFS'), 'UPSTREAM_UNAVAILABLE', /cannot be written by uid \d+ \(EROFS\)/],
  [coded('ENOSPC'), 'UPSTREAM_UNAVAILABLE', /the disk is full/],
  [coded('ENOTDIR'), 'INVALID_REQUEST', /a file that is not a directory/],
  [coded('ENAMETOOLONG'), 'UPSTREAM_UNAVAILABLE', /ENAMETOOLONG: what the system says/],
];

for (const [thrown, reason, message] of OPENING) {
  const { code, errcode } = thrown as { code: string; errcode?: number };
  test(`while opening, ${errcode ?? code} is ${reason}: ${message.source}`, (t) => {
    const error = openingError('/var/lib/keystore', thrown);
    t.is(error.reason, reason);
    t.regex(error.message, message);
    t.true(error.message.startsWith('keystore /var/lib/keystore: '));
    t.is(error.cause, thrown);
  });
}

test('while opening, what is ours stays, and what nobody knows is internal', (t) => {
  const ours = keystoreFault('/var/lib/keystore', 'is what it is');
  t.is(openingError('/elsewhere', ours), ours);
  t.is(openingError('/elsewhere', new TypeError('oops')).reason, 'INTERNAL');
  t.is(openingError('/elsewhere', coded('ERR_NO_MEMORY')).reason, 'SECRET_MEMORY_EXHAUSTED');
  t.is(openingError('/elsewhere', null).reason, 'INTERNAL');
});

test('a change that failed is unreachable and says that nothing was changed', (t) => {
  const full = writingFailure('/var/lib/keystore', sqlite(13));
  t.is(full.class, 'unreachable');
  t.is(
    full.message,
    'keystore /var/lib/keystore: nothing was changed: the disk is full; free some space and try again',
  );
  t.is(writingFailure('/d', new Error('oops')).message, 'keystore /d: nothing was changed: failed in an unknown way');
});

test('a tag that fails is invalid; no other native error blames the DEK', (t) => {
  const invalid = wrappingFailure('local:orders', coded('ERR_AUTHENTICATION'));
  t.true(invalid instanceof UpstreamFailure && invalid.class === 'invalid');
  t.regex(invalid.message, /does not open under local:orders/);
  const stale = wrappingFailure('local:orders', coded('ERR_STALE_HANDLE'));
  t.true(stale instanceof UpstreamFailure && stale.class === 'unreachable');
});

test('a lack of secret memory is not an outage of the upstream', (t) => {
  for (const error of [
    wrappingFailure('local:orders', coded('ERR_NO_MEMORY')),
    loadingFailure('local:orders', 1, coded('ERR_NO_MEMORY')),
  ]) {
    t.true(error instanceof DekdError && error.reason === 'SECRET_MEMORY_EXHAUSTED');
  }
  const broken = loadingFailure('local:orders', 1, coded('ERR_AUTHENTICATION'));
  t.true(broken instanceof UpstreamFailure && broken.class === 'unreachable');
});

test('what SQLite cannot make sense of is damage; what it cannot get at is not', (t) => {
  for (const errcode of [1, 11, 779, 26]) t.true(isDamage(sqlite(errcode)), String(errcode));
  for (const thrown of [sqlite(5), sqlite(8), sqlite(10), sqlite(13), sqlite(14), coded('EIO'), null, 'text']) {
    t.false(isDamage(thrown));
  }
});
