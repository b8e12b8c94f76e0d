import { randomBytes } from 'node:crypto';
import test from 'ava';
import type { Envelope } from '../../src/crypto/envelope.ts';
import type { Dek } from '../../src/keyring/dek.ts';
import { DekIndex } from '../../src/keyring/dek-index.ts';
import { Random } from '../fuzz/random.ts';

/** What the index reads of a DEK. */
function fake(id: Buffer = randomBytes(32), rest: Buffer = randomBytes(100)): Dek {
  return { id, handle: 2 ** 20, inline: Buffer.concat([id, rest]) } as unknown as Dek;
}

function envelope({ inline }: Pick<Dek, 'inline'>): Envelope {
  return {
    bytes: Buffer.concat([Buffer.alloc(8), inline, randomBytes(50)]),
    sealedOffset: 8 + inline.length,
  } as Envelope;
}

test('finds what is in, by envelope and by id, and nothing else', (t) => {
  const index = new DekIndex();
  const deks = Array.from({ length: 5_000 }, () => fake());
  for (const dek of deks) index.add(dek);
  t.is(index.size, 5_000);
  for (const dek of deks) {
    t.is(index.find(envelope(dek)), dek);
    t.is(index.byId(dek.id), dek);
  }
  t.is(index.find(envelope(fake())), undefined);
  t.is(index.byId(randomBytes(32)), undefined);
  t.deepEqual([...index.values()], deks);
});

test('an envelope with a block that differs in any bit or in its length is not a DEK’s own', (t) => {
  const index = new DekIndex();
  const dek = fake();
  index.add(dek);
  for (let bit = 0; bit < dek.inline.length * 8; bit++) {
    const altered = Buffer.from(dek.inline);
    altered[bit >> 3]! ^= 1 << (bit & 7);
    t.is(index.find(envelope({ inline: altered })), undefined, `bit ${bit}`);
  }
  for (let length = 32; length <= 140; length++) {
    const cut = Buffer.concat([dek.inline, Buffer.alloc(10)]).subarray(0, length);
    t.is(index.find(envelope({ inline: cut })), length === dek.inline.length ? dek : undefined, `length ${length}`);
  }
  t.is(index.byId(dek.id), dek);
});

test('what is not in can be deleted: nothing happens', (t) => {
  const index = new DekIndex();
  const dek = fake();
  index.add(dek);
  index.delete(fake());
  index.delete(fake(dek.id));
  t.is(index.size, 1);
  t.is(index.byId(dek.id), dek);
  index.delete(dek);
  index.delete(dek);
  t.is(index.size, 0);
});

test('a walk may delete what it stands on', (t) => {
  const index = new DekIndex();
  for (let at = 0; at < 100; at++) index.add(fake());
  for (const dek of index.values()) index.delete(dek);
  t.is(index.size, 0);
  t.deepEqual([...index.values()], []);
});

test('agrees with a Map through 20,000 random additions and removals, full and nearly empty', (t) => {
  const random = new Random(7);
  const index = new DekIndex();
  const model = new Map<string, Dek>();
  const gone: Dek[] = [];
  for (let step = 0; step < 20_000; step++) {
    // Up and down by turns, so that the table is at times as full as it gets and holes are filled again.
    const grows = Math.floor(step / 2_500) % 2 === 0;
    if (model.size === 0 || random.chance(grows ? 3 : 1, 4)) {
      const dek = gone.length > 0 && random.chance(1, 4) ? gone.pop()! : fake();
      index.add(dek);
      model.set(dek.id.toString('hex'), dek);
    } else {
      const dek = random.pick([...model.values()].slice(0, 20));
      index.delete(dek);
      model.delete(dek.id.toString('hex'));
      gone.push(dek);
    }
    if (step % 50 !== 0) continue;
    const wrong = [...model.values()].filter((dek) => index.find(envelope(dek)) !== dek || index.byId(dek.id) !== dek);
    const ghosts = gone.filter((dek) => index.byId(dek.id) !== undefined);
    if (wrong.length + ghosts.length > 0 || index.size !== model.size) {
      return t.fail(
        `step ${step}: ${wrong.length} wrong, ${ghosts.length} ghosts, size ${index.size} of ${model.size}`,
      );
    }
  }
  const held = [...index.values()];
  t.is(held.length, model.size);
  t.true(held.every((dek) => model.get(dek.id.toString('hex')) === dek));
});
