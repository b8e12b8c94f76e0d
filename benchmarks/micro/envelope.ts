/**
 * What the envelope adds to the addon's own work: 256 bytes, a context of two entries, 32 bytes of associated data, an inline dek-block,
 * XAES-256-GCM. All in one process, round by round in turn; the ratio is to the addon's seal alone.
 */
import { type DekBlock, parseDekBlock, sealDekBlock } from '../../src/crypto/dek-block.ts';
import { envelopePrefix, openEnvelope, parseEnvelope, sealMessage } from '../../src/crypto/envelope.ts';
import { createKey, dekId, openArena, seal, USE_MESSAGE } from '../../src/crypto/native.ts';
import { type BenchmarkResult, median, row } from '../result.ts';

const ROUNDS = 21;
const CALLS = 20_000;

export async function run(): Promise<BenchmarkResult> {
  openArena({ size: 1 << 20, lock: 'best-effort' });
  const dek = createKey('dek');
  const block: DekBlock = {
    createdMs: 1_767_225_600_000,
    generation: 0,
    keyName: 'orders',
    partition: new Map([['tenant', 'customer-4711']]),
    recipients: [
      {
        type: 1,
        wrapAlgorithm: 6,
        kekUri: 'local:0123456789abcdef/orders',
        kekVersion: '1',
        wrapped: Buffer.alloc(72),
      },
    ],
  };
  const context = new Map([...block.partition, ['table', 'orders']]);
  const blockBytes = sealDekBlock(block, dek);
  const prefix = envelopePrefix(1, dekId(dek), blockBytes);
  const plaintext = Buffer.alloc(256, 1);
  const data = Buffer.alloc(32, 2);
  const aad = Buffer.alloc(137);
  const out = Buffer.alloc(512);
  const sealed = sealMessage(dek, prefix, context, data, plaintext);
  const envelope = parseEnvelope(sealed);

  const contenders: [measure: string, call: () => unknown][] = [
    ['addon alone: seal', () => seal(dek, USE_MESSAGE, 1, aad, aad.length, plaintext, out, 0)],
    ['sealMessage', () => sealMessage(dek, prefix, context, data, plaintext)],
    ['openEnvelope', () => openEnvelope(dek, envelope, context, data)],
    ['parseEnvelope, inline', () => parseEnvelope(sealed)],
    ['parseDekBlock', () => parseDekBlock(blockBytes)],
  ];
  const samples = contenders.map((): number[] => []);
  for (let round = -2; round < ROUNDS; round++) {
    contenders.forEach(([, call], at) => {
      const microseconds = time(call);
      if (round >= 0) samples[at]!.push(microseconds);
    });
  }
  const medians = samples.map(median);
  const rows = contenders.slice(1).map(([measure], at) => row(measure, medians[at + 1]!, medians[0]!, 'µs'));
  return { name: 'envelope of 256 bytes, 2 entries of context : the addon’s seal alone', rows };
}

function time(call: () => unknown): number {
  let last: unknown;
  const start = process.hrtime.bigint();
  for (let count = 0; count < CALLS; count++) last = call();
  const elapsed = process.hrtime.bigint() - start;
  // Looked at, so that no call can be optimised away.
  if (last === undefined) throw new Error('the call returned nothing');
  return Number(elapsed) / 1e3 / CALLS;
}

if (import.meta.main) {
  const result = await run();
  console.log(result.name);
  console.table(result.rows);
}
