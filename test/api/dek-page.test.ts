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

/** Counts how many of its DEKs are looked at. */
function ring(deks: Dek[]): Keyring & { looks: number } {
  const held = {
    looks: 0,
    encrypting: { size: 0 },
    decrypting: { size: deks.length },
    *all() {
      for (const one of deks) {
        held.looks++;
        yield one;
      }
    },
  };
  return held as unknown as Keyring & { looks: number };
}

// biome-ignore lint/suspicious/noExplicitAny: what goes into a DekStatus
type Taken = any;

/** Room for more DEKs than a test has. */
const BYTES = 1 << 20;

test('pages follow each other over all keys, and look at no more DEKs than they must', (t) => {
  const rings = [ring([dek(1), dek(2), dek(3)]), ring([]), ring([dek(4), dek(5)])];
  const seen: number[] = [];
  const looks: number[][] = [];
  let token = '';
  do {
    const page = new DekPage(2, token, BYTES, NOTHING_REFUSED);
    for (const one of rings) {
      for (const { dek_id: id } of page.take(one) as Taken[]) seen.push(Number.parseInt(id.slice(0, 2), 16));
    }
    looks.push(rings.map((one) => one.looks));
    token = page.nextToken;
  } while (token !== '');
  t.deepEqual(seen, [1, 2, 3, 4, 5]);
  // One more than the page has, to know whether it is the last.
  t.deepEqual(looks, [
    [3, 0, 0],
    [6, 0, 2],
    [6, 0, 4],
  ]);
});

test('a page that ends with the last DEK is the last one', (t) => {
  const page = new DekPage(2, '', BYTES, NOTHING_REFUSED);
  page.take(ring([dek(1), dek(2)]));
  t.is(page.nextToken, '');
});

test('the default is 1,000; long partitions end a page earlier, so that it fits into an answer', (t) => {
  const page = new DekPage(0, '', BYTES, NOTHING_REFUSED);
  t.is(page.take(ring(Array.from({ length: 1_001 }, () => dek(1)))).length, 1_000);
  t.is(page.nextToken, '1000');
  const partition = new Map(Array.from({ length: 30 }, (_, at) => [`n${at}`.padEnd(8), 'v'.repeat(256)] as const));
  const wide = new DekPage(10_000, '', BYTES, NOTHING_REFUSED);
  const taken = wide.take(ring(Array.from({ length: 1_000 }, () => dek(1, { partition }))));
  t.true(taken.length > 100 && taken.length < 150, String(taken.length));
  t.is(wide.nextToken, String(taken.length));
  // A short one that would still fit is not taken before its turn.
  t.deepEqual(wide.take(ring([dek(1)])), []);
});

test('what is wrong with a DEK is marked', (t) => {
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
  const [first, second]: Taken[] = new DekPage(0, '', BYTES, refused).take(ring([overdue, late]));
  t.like(first, {
    class: 'encrypting',
    rotation_overdue: true,
    refusal_pending: true,
    in_grace: false,
    archived: true,
  });
  t.deepEqual(first.rotation_in, { seconds: '0', nanos: 0 });
  t.like(second, { rotation_overdue: false, refusal_pending: false, in_grace: true, rotation_in: undefined });
  t.is(second.verification_age.seconds, '6');
});

test('a block that claims to be of the year 292,277,026,596 has no time that a client could not read', (t) => {
  const [only]: Taken[] = new DekPage(0, '', BYTES, NOTHING_REFUSED).take(ring([dek(1, { createdMs: 2 ** 53 })]));
  t.is(only.created_at, undefined);
});

test('requests that are none', (t) => {
  const field = (name: string) => ({ message: new RegExp(`^${name}: `) });
  t.throws(() => new DekPage(10_001, '', BYTES, NOTHING_REFUSED), field('max_deks'));
  for (const token of ['-1', 'x', '1'.repeat(10), ' ']) {
    t.throws(() => new DekPage(1, token, BYTES, NOTHING_REFUSED), field('page_token'), token);
  }
});
