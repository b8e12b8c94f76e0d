/** Well-formed envelopes that do not authenticate. */
import { ACME, integer, makeBlock, refuseVector } from './build.mjs';
import { derive, fixedBytes } from './primitives.mjs';

function flip(bytes, offset) {
  const copy = Buffer.from(bytes);
  copy[offset < 0 ? copy.length + offset : offset] ^= 1;
  return copy;
}

export function unauthenticPayloads() {
  const given = { context: ACME, associatedData: 'row-1' };
  const refuse = (name, alter, more = {}) => refuseVector('unauthentic', name, { ...given, ...more }, [], alter);
  const flipped =
    (offset) =>
    ({ envelope }) => ({ envelope: flip(envelope, offset) });
  const header =
    (offset, value) =>
    ({ envelope }) => {
      const copy = Buffer.from(envelope);
      copy[offset] = value;
      return { envelope: copy };
    };
  const pairs = (wrong) => () => ({ pairs: wrong });
  return [
    refuse('another DEK', () => ({ dek: fixedBytes('another', 32) })),
    refuse('context missing', pairs([])),
    refuse('context entry missing', pairs(ACME.slice(1))),
    refuse('context entry too many', pairs([...ACME, ['x', 'y']])),
    refuse(
      'context value differs in case',
      pairs([
        ['tenant', 'Acme'],
        ['table', 'orders'],
      ]),
    ),
    refuse('context keys and values exchanged', pairs(ACME.map(([key, value]) => [value, key]))),
    refuse('context in another normal form', pairs([['e\u0301', 'x']]), { context: [['é', 'x']] }),
    refuse('associated data missing', () => ({ data: Buffer.alloc(0) })),
    refuse('associated data longer by a zero byte', ({ data }) => ({ data: Buffer.concat([data, Buffer.alloc(1)]) })),
    refuse('dek_id altered', flipped(8)),
    refuse('dek_id of another DEK', () => ({}), { dekId: derive(fixedBytes('another', 32), 'dek-id') }),
    refuse('nonce altered in its first half', flipped(40)),
    refuse('nonce altered in its second half', flipped(63)),
    refuse('ciphertext altered', flipped(64)),
    refuse('tag altered', flipped(-1)),
    refuse('tag shortened', ({ envelope }) => ({ envelope: envelope.subarray(0, -1) })),
    refuse('a byte appended', ({ envelope }) => ({ envelope: Buffer.concat([envelope, Buffer.alloc(1)]) })),
    refuse('message given out as data key', header(6, 2)),
    refuse('data key given out as message', header(6, 1), { content: 2, plaintext: fixedBytes('data key', 32) }),
    refuse('suite 1 given out as suite 2', header(5, 2)),
    refuse('suite 2 given out as suite 1', header(5, 1), { suite: 2, plaintext: fixedBytes('long enough', 32) }),
  ];
}

export function unauthenticBlocks() {
  const refuse = (name, alter, more = {}) =>
    refuseVector(
      'unauthentic',
      name,
      { block: { partition: [['tenant', 'acme']] }, context: ACME, ...more },
      [],
      alter,
    );
  const flipped =
    (offset) =>
    ({ envelope }) => ({ envelope: flip(envelope, offset) });
  const exchange =
    (dek, block) =>
    ({ envelope, block: old }) => {
      const { bytes } = makeBlock(dek, block);
      const rest = envelope.subarray(42 + old.bytes.length);
      return { envelope: Buffer.concat([envelope.subarray(0, 40), integer(2, bytes.length), bytes, rest]) };
    };
  const detached = { detached: true };
  return [
    refuse('block: created altered', flipped(42 + 8)),
    refuse('block: generation altered', flipped(42 + 12)),
    refuse('block: key name altered', flipped(42 + 14)),
    refuse('block: wrapped DEK altered', ({ envelope, block }) => ({
      envelope: flip(envelope, 42 + block.bytes.length - 40),
    })),
    refuse('block: MAC altered', ({ envelope, block }) => ({ envelope: flip(envelope, 41 + block.bytes.length) })),
    refuse('block: of another DEK', exchange(fixedBytes('another', 32), { partition: [['tenant', 'acme']] })),
    refuse('block: detached, altered', ({ block }) => ({ block: flip(block.bytes, 8) }), detached),
    refuse(
      'block: detached, of another DEK',
      () => ({ block: makeBlock(fixedBytes('another', 32), {}).bytes }),
      detached,
    ),
    refuse('block: partition not in the context', (made) =>
      exchange(made.dek, { partition: [['tenant', 'other']] })(made),
    ),
    refuse('block: partition key not in the context', (made) =>
      exchange(made.dek, { partition: [['region', 'acme']] })(made),
    ),
  ];
}
