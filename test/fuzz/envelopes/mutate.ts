import type { Random } from '../random.ts';
import type { Field } from './layout.ts';
import type { Sample } from './samples.ts';
import { KEYS } from './world.ts';

/** A Decrypt request as it will be encoded. */
export interface Draft {
  envelope: Buffer;
  context: [string, string][];
  associatedData: Buffer;
  expectedKey: string;
  dryRun: boolean;
}

type Mutation = (draft: Draft, sample: Sample, random: Random, samples: readonly Sample[]) => void;

/** What a mutation costs in checks differs: the weights are such that each stage of the way gets its share. */
const WEIGHTED: readonly [weight: number, mutation: Mutation][] = [
  [38, blockContent],
  [16, sealedBytes],
  [4, contextOrData],
  [3, headerByte],
  [2, keyName],
  [1, dekId],
  [5, lengthField],
  [14, rawEdits],
  [4, sealedLength],
  [5, splice],
  [2, requestFields],
];
const TABLE = WEIGHTED.flatMap(([weight, mutation]) => Array<Mutation>(weight).fill(mutation));

/** Changes a request made from `sample`, in a way that knows the format or in one that does not; one in eight is changed twice. */
export function mutate(sample: Sample, random: Random, samples: readonly Sample[]): Draft {
  const draft = unchanged(sample);
  random.pick(TABLE)(draft, sample, random, samples);
  if (random.chance(1, 8)) random.pick(TABLE)(draft, sample, random, samples);
  return draft;
}

/** The request that opens it; its envelope is a copy. */
export function unchanged(sample: Sample): Draft {
  return {
    envelope: Buffer.from(sample.envelope),
    context: Object.entries(sample.context),
    associatedData: sample.associatedData,
    expectedKey: '',
    dryRun: false,
  };
}

/** The block stays well-formed: only its MAC can tell. */
function blockContent({ envelope }: Draft, { layout }: Sample, random: Random): void {
  change(envelope, random.chance(1, 4) ? layout.mac : random.pick(layout.content), random);
}

function sealedBytes({ envelope }: Draft, { layout }: Sample, random: Random): void {
  change(envelope, { ...layout.sealed, isText: false }, random);
}

function contextOrData(draft: Draft, _sample: Sample, random: Random): void {
  switch (random.below(5)) {
    case 0:
      draft.context = [];
      break;
    case 1:
      draft.context.push([
        random.pick(['', 'tenant', 'dekd:key', 'aws:x', '__proto__', 'x'.repeat(300), '\u{1f600}']),
        'x',
      ]);
      break;
    case 2:
      draft.context = draft.context.map(([name, value]) => [name, `${value}${random.pick(['', ' ', '\0', 'é'])}`]);
      break;
    case 3:
      draft.associatedData = random.bytes(random.below(40));
      break;
    default:
      draft.associatedData = Buffer.concat([draft.associatedData, random.bytes(1)]);
  }
}

/** Version, suite, content or flags; the values beside the known ones as well. */
function headerByte({ envelope }: Draft, _sample: Sample, random: Random): void {
  if (envelope.length >= 8) envelope[4 + random.below(4)] = random.pick([0, 1, 2, 3, 4, 0x80, 0xff]);
}

function keyName({ envelope }: Draft, { layout }: Sample, random: Random): void {
  const { start, end } = layout.keyName;
  if (random.chance(1, 2)) change(envelope, layout.keyName, random);
  else if (end <= envelope.length) envelope.write(random.pick(KEYS).name, start, 'latin1');
}

/** No DEK is held for such an id: the upstream is asked. */
function dekId({ envelope }: Draft, _sample: Sample, random: Random): void {
  change(envelope, { start: 8, end: 40, isText: false }, random);
}

function lengthField({ envelope }: Draft, { layout }: Sample, random: Random): void {
  const { end } = random.pick(layout.lengths);
  if (end > envelope.length) return;
  const old = envelope[end - 1]!;
  envelope[end - 1] = random.pick([0, 1, old + 1, old - 1, 0xff, 0x7f, 0x80, random.below(256)]);
  if (random.chance(1, 4) && end >= 2) envelope[end - 2] = random.pick([0xff, 0x80, 0x40, random.below(256)]);
}

function rawEdits(draft: Draft, _sample: Sample, random: Random): void {
  for (let edits = 1 + random.below(3); edits > 0; edits--) draft.envelope = rawEdit(draft.envelope, random);
}

function rawEdit(bytes: Buffer, random: Random): Buffer {
  const at = random.below(bytes.length + 1);
  const length = random.below(40);
  switch (random.below(8)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at), random.bytes(length), bytes.subarray(at)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at)]);
    case 4:
      bytes.fill(random.pick([0, 0xff, 0x80, 0x7f]), at, Math.min(bytes.length, at + 1 + random.below(8)));
      return bytes;
    default:
      if (at < bytes.length) bytes[at]! ^= 1 << random.below(8);
      return bytes;
  }
}

/** Longer or shorter behind the block. */
function sealedLength(draft: Draft, { layout }: Sample, random: Random): void {
  const { envelope } = draft;
  const cut = layout.sealed.start + random.below(Math.max(1, envelope.length - layout.sealed.start));
  draft.envelope = random.chance(1, 2)
    ? envelope.subarray(0, cut)
    : Buffer.concat([envelope, random.bytes(1 + random.below(32))]);
}

/** Header, block and payload of different envelopes, at their seams or anywhere. */
function splice(draft: Draft, sample: Sample, random: Random, samples: readonly Sample[]): void {
  const other = random.pick(samples);
  const [mine, theirs] = random.pick([
    [40, 40],
    [sample.layout.sealed.start, other.layout.sealed.start],
    [sample.layout.mac.start, other.layout.mac.start],
    [random.below(draft.envelope.length), random.below(other.envelope.length)],
  ] as const);
  draft.envelope = Buffer.concat([draft.envelope.subarray(0, mine), other.envelope.subarray(theirs)]);
}

function requestFields(draft: Draft, sample: Sample, random: Random): void {
  if (random.chance(1, 4)) draft.dryRun = true;
  else draft.expectedKey = random.pick([sample.key, 'orders', 'hidden', 'absent', '-', 'x'.repeat(200), 'é']);
  if (random.chance(1, 2)) contextOrData(draft, sample, random);
}

/** One to three bytes of a range that lies within the bytes; text stays ASCII. */
function change(bytes: Buffer, { start, end, isText }: Field, random: Random): void {
  if (end > bytes.length || end === start) return;
  for (let count = 1 + random.below(3); count > 0; count--) {
    const at = start + random.below(end - start);
    bytes[at] = isText ? 0x21 + random.below(0x5d) : bytes[at]! ^ (1 + random.below(255));
  }
}
