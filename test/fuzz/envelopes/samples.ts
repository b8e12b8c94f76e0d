import type { Random } from '../random.ts';
import { type Layout, layoutOf } from './layout.ts';
import { KEYS, type Message, type World } from './world.ts';

/** A ciphertext, what it was made from, and everything that is needed to open it. */
export interface Sample {
  readonly key: string;
  readonly envelope: Buffer;
  readonly layout: Layout;
  readonly context: Readonly<Record<string, string>>;
  readonly associatedData: Buffer;
  readonly plaintext: Buffer;
}

const LENGTHS = [0, 1, 5, 16, 64, 300];
const TENANTS = ['acme', 'brew', 'corp'];

/** Messages and data keys of every key, with and without context and associated data; those of `hidden` are made by its owner. */
export async function makeSamples(world: World, random: Random): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (const { name } of KEYS) {
    for (const [at, length] of LENGTHS.entries()) {
      const context = contextOf(random, name, at);
      const associatedData = random.bytes(at % 3 === 0 ? 0 : 5 * at);
      samples.push(await message(world, name, context, associatedData, random.bytes(length)));
      samples.push(await dataKey(world, name, context, associatedData, 16 + at));
    }
  }
  return samples;
}

/** Of the length that the thread pool opens. */
export async function makeLongSamples(world: World, random: Random): Promise<Sample[]> {
  const names = ['orders', 'export'];
  return Promise.all(
    names.map((name) => message(world, name, { field: 'long' }, random.bytes(9), random.bytes(70_000))),
  );
}

/** By the envelope's bytes. */
export function indexSamples(samples: readonly Sample[]): ReadonlyMap<string, Sample> {
  return new Map(samples.map((sample) => [sample.envelope.toString('latin1'), sample]));
}

function contextOf(random: Random, name: string, at: number): Record<string, string> {
  const pairs: Record<string, string> = name === 'tenant' ? { tenant: TENANTS[at % TENANTS.length]! } : {};
  for (let count = at % 4; count > 0; count--) pairs[`field-${count}`] = `value ${random.below(1000)}`;
  return pairs;
}

async function message(
  world: World,
  key: string,
  context: Record<string, string>,
  associatedData: Buffer,
  plaintext: Buffer,
): Promise<Sample> {
  const request = { key, plaintext, encryption_context: context, associated_data: associatedData, dry_run: false };
  const { ciphertext } = await world.handle('Encrypt', request, key === 'hidden');
  return sample(key, ciphertext, context, associatedData, plaintext);
}

async function dataKey(
  world: World,
  key: string,
  context: Record<string, string>,
  associatedData: Buffer,
  bytes: number,
): Promise<Sample> {
  const request = {
    key,
    number_of_bytes: bytes,
    encryption_context: context,
    associated_data: associatedData,
    dry_run: false,
  };
  const answer: Message = await world.handle('GenerateDataKey', request, key === 'hidden');
  return sample(key, answer.ciphertext, context, associatedData, answer.plaintext);
}

function sample(
  key: string,
  ciphertext: Buffer,
  context: Record<string, string>,
  associatedData: Buffer,
  plaintext: Buffer,
): Sample {
  const envelope = Buffer.from(ciphertext);
  return { key, envelope, layout: layoutOf(envelope), context, associatedData, plaintext: Buffer.from(plaintext) };
}
