import test from 'ava';
import type { Envelope } from '../../src/crypto/envelope.ts';
import type { Dek } from '../../src/keyring/dek.ts';
import { DekIndex } from '../../src/keyring/dek-index.ts';

/** What the index reads of a DEK. */
function fake(id: Buffer): Dek {
  return {
    id,
    next: undefined,
    standsIn: (envelope: Buffer) => envelope.subarray(8, 40).equals(id),
  } as unknown as Dek;
}

function envelope(id: Buffer): Envelope {
  return { bytes: Buffer.concat([Buffer.alloc(8), id]), sealedOffset: 40 } as Envelope;
}

function idOf(first: number, last: number): Buffer {
  const id = Buffer.alloc(32);
  id.writeUInt32BE(first);
  id.writeUInt32BE(last, 28);
  return id;
}

test('finds what is in, by envelope and by id, and nothing else', (t) => {
  const index = new DekIndex();
  const deks = Array.from({ length: 5_000 }, (_, at) => fake(idOf(Math.imul(at, 2_654_435_761) >>> 0, at)));
  for (const dek of deks) index.add(dek);
  t.is(index.size, 5_000);
  for (const dek of deks) {
    t.is(index.find(envelope(dek.id)), dek);
    t.is(index.byId(dek.id), dek);
  }
  t.is(index.find(envelope(idOf(1, 1))), undefined);
  t.is(new Set(index.values()).size, 5_000);
});

test('DEKs whose ids begin alike share a place; each is found and removed by itself', (t) => {
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 0, 2],
    [1, 2, 0],
  ]) {
    const index = new DekIndex();
    const deks = [1, 2, 3].map((last) => fake(idOf(0xffff_ffff, last)));
    for (const dek of deks) index.add(dek);
    for (const [removed, at] of order.entries()) {
      index.delete(deks[at]!);
      t.is(index.byId(deks[at]!.id), undefined);
      t.is(index.size, 2 - removed);
      for (const left of order.slice(removed + 1)) t.is(index.find(envelope(deks[left]!.id)), deks[left]);
    }
    t.deepEqual([...index.values()], []);
  }
});

test('what is not in can be deleted: nothing happens', (t) => {
  const index = new DekIndex();
  const dek = fake(idOf(7, 1));
  index.add(dek);
  index.delete(fake(idOf(7, 2)));
  index.delete(fake(idOf(8, 1)));
  t.is(index.size, 1);
  t.is(index.byId(dek.id), dek);
});

test('a walk may delete what it stands on', (t) => {
  const index = new DekIndex();
  for (let at = 0; at < 100; at++) index.add(fake(idOf(at % 7, at)));
  for (const dek of index.values()) index.delete(dek);
  t.is(index.size, 0);
  t.deepEqual([...index.values()], []);
});
