import test from 'ava';
import { DekPage } from '../../src/api/dek-page.ts';
import { systemClock } from '../../src/keyring/clock.ts';
import type { Dek } from '../../src/keyring/dek.ts';
import type { Keyring } from '../../src/keyring/keyring.ts';
import type { Keyrings } from '../../src/keyring/keyrings.ts';

const TTL = 1_000;
const GRACE = 60_000;
const NOTHING_REFUSED = { refusalPending: () => false, inGrace: () => false } as unknown as Keyrings;

function dek(id: number, more: Partial<Dek> = {}): Dek {
  const nowMs = systemClock.bootMs();
  return {
    id: Buffer.alloc(32, id),
    place: 'decrypting',
    options: { cache: { ttlMs: TTL, graceMs: GRACE, rotateAfterMs: 10_000, maxMessages: 100, maxBytes: 100 } },
    partition: new Map(),
    createdMs: 1,
    loadedAtMs: nowMs,
    verifiedAtMs: nowMs,
    rotateDueAtMs: Number.POSITIVE_INFINITY,
    messages: 0,
    bytes: 0,
    ...more,
  } as Dek;
}

const ring = (deks: Dek[]): Keyring => ({ all: () => deks }) as unknown as Keyring;

// biome-ignore lint/suspicious/noExplicitAny: what goes into a KeyStatus
type Taken = any;

test('pages follow each other over all keys, and every answer counts all DEKs', (t) => {
  const rings = [ring([dek(1), dek(2), dek(3)]), ring([]), ring([dek(4), dek(5)])];
  const seen: number[] = [];
  let token = '';
  let pages = 0;
  do {
    const page = new DekPage(2, token, NOTHING_REFUSED);
    const taken: Taken[] = rings.map((one) => page.take(one));
    t.deepEqual(
      taken.map(({ decrypting_deks: count }) => count),
      ['3', '0', '2'],
    );
    for (const { deks } of taken) for (const { dek_id: id } of deks) seen.push(Number.parseInt(id.slice(0, 2), 16));
    token = page.nextToken;
    pages++;
  } while (token !== '');
  t.deepEqual(seen, [1, 2, 3, 4, 5]);
  t.is(pages, 3);
});

test('a page that ends with the last DEK is the last one', (t) => {
  const page = new DekPage(2, '', NOTHING_REFUSED);
  page.take(ring([dek(1), dek(2)]));
  t.is(page.nextToken, '');
});

test('the default is 1,000; long partitions end a page earlier, so that it fits into an answer', (t) => {
  const page = new DekPage(0, '', NOTHING_REFUSED);
  const many: Taken = page.take(ring(Array.from({ length: 1_001 }, () => dek(1))));
  t.is(many.deks.length, 1_000);
  t.is(page.nextToken, '1000');
  const partition = new Map(Array.from({ length: 30 }, (_, at) => [`n${at}`.padEnd(8), 'v'.repeat(256)] as const));
  const wide = new DekPage(10_000, '', NOTHING_REFUSED);
  const taken: Taken = wide.take(ring(Array.from({ length: 1_000 }, () => dek(1, { partition }))));
  t.true(taken.deks.length > 100 && taken.deks.length < 300, String(taken.deks.length));
  t.is(wide.nextToken, String(taken.deks.length));
  // A short one that would still fit is not taken before its turn.
  t.deepEqual((wide.take(ring([dek(1)])) as Taken).deks, []);
});

test('what is wrong is counted and marked', (t) => {
  const nowMs = systemClock.bootMs();
  const late = dek(1, { verifiedAtMs: nowMs - TTL - 5_000 });
  const overdue = dek(2, {
    place: 'encrypting',
    loadedAtMs: nowMs - 20_000,
    rotateDueAtMs: nowMs - 15_000,
    archived: true,
  });
  const refused = {
    refusalPending: (one: Dek) => one === overdue,
    inGrace: (one: Dek) => one === late,
  } as unknown as Keyrings;
  const page: Taken = new DekPage(0, '', refused).take(ring([overdue, late]));
  t.like(page, {
    encrypting_deks: '1',
    decrypting_deks: '1',
    deks_in_grace: '1',
    rotations_overdue: '1',
    refusals_pending: '1',
  });
  t.is(page.oldest_verification_age.seconds, '6');
  const graceLeft = Number(page.grace_left.seconds) * 1_000 + page.grace_left.nanos / 1e6;
  t.true(graceLeft <= GRACE - 5_000 && graceLeft > GRACE - 6_000, String(graceLeft));
  const [first, second] = page.deks;
  t.like(first, {
    class: 'encrypting',
    rotation_overdue: true,
    refusal_pending: true,
    in_grace: false,
    archived: true,
  });
  t.deepEqual(first.rotation_in, { seconds: '0', nanos: 0 });
  t.like(second, { rotation_overdue: false, in_grace: true, rotation_in: undefined });
});

test('a block that claims to be of the year 292,277,026,596 has no time that a client could not read', (t) => {
  const page: Taken = new DekPage(0, '', NOTHING_REFUSED).take(ring([dek(1, { createdMs: 2 ** 53 })]));
  t.is(page.deks[0].created_at, undefined);
});

test('requests that are none', (t) => {
  const field = (name: string) => ({ message: new RegExp(`^${name}: `) });
  t.throws(() => new DekPage(10_001, '', NOTHING_REFUSED), field('max_deks'));
  for (const token of ['-1', 'x', '1'.repeat(10), ' ']) {
    t.throws(() => new DekPage(1, token, NOTHING_REFUSED), field('page_token'), token);
  }
});
