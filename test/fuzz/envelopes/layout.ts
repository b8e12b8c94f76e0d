/** Bytes from `start` up to `end`. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

export interface Field extends Range {
  readonly isText: boolean;
}

/** Where the parts of an envelope with an inline block lie (docs/envelope.md, sections 1 and 4). */
export interface Layout {
  /** What says how long something is, or how many there are. */
  readonly lengths: readonly Range[];
  /** What a block of the same form may have otherwise, and only its MAC tells. */
  readonly content: readonly Field[];
  readonly keyName: Field;
  readonly mac: Field;
  readonly sealed: Range;
}

const SCHEME_BYTES = 'local:'.length;
const NONCE_BYTES = [0, 24, 12];

/** Of an envelope that is sound: it is ours. */
export function layoutOf(envelope: Buffer): Layout {
  const lengths: Range[] = [];
  const content: Field[] = [];
  let at = 40;
  const skip = (count: number): Range => {
    at += count;
    return { start: at - count, end: at };
  };
  const length = (size: 1 | 2 | 4): number => {
    const range = skip(size);
    lengths.push(range);
    return envelope.readUIntBE(range.start, size);
  };
  const blockEnd = length(2) + at;
  skip(1);
  // The time's upper bytes stay: over 2^53 it would be malformed.
  skip(2);
  content.push(bytes(skip(6)), bytes(skip(4)));
  const keyName = text(skip(length(1)));
  length(2);
  for (let pairs = length(4); pairs > 0; pairs--) {
    skip(length(4));
    content.push(text(skip(length(4))));
  }
  for (let recipients = length(1); recipients > 0; recipients--) {
    skip(2);
    const uri = skip(length(2));
    content.push(
      text({ start: uri.start + SCHEME_BYTES, end: uri.end }),
      text(skip(length(2))),
      bytes(skip(length(2))),
    );
  }
  const mac = bytes(skip(32));
  if (at !== blockEnd) throw new Error('the layout does not fit its block');
  const nonce = NONCE_BYTES[envelope[5]!]!;
  if (envelope.length < at + nonce + 16) throw new Error('the layout does not fit its envelope');
  return { lengths, content, keyName, mac, sealed: { start: at, end: envelope.length } };
}

/** Same length, same magic, and the same bytes wherever a length or a count stands. */
export function keepsForm(layout: Layout, original: Buffer, mutated: Buffer): boolean {
  return (
    mutated.length === original.length &&
    original.compare(mutated, 0, 4, 0, 4) === 0 &&
    layout.lengths.every(({ start, end }) => original.compare(mutated, start, end, start, end) === 0)
  );
}

function text(range: Range): Field {
  return { ...range, isText: true };
}

function bytes(range: Range): Field {
  return { ...range, isText: false };
}
