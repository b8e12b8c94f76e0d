import { parseDekBlock } from '../../crypto/dek-block.ts';
import { type Envelope, parseEnvelope } from '../../crypto/envelope.ts';
import { RECIPIENT_SCHEMES } from '../../crypto/recipients.ts';
import { CONTENT, nonceBytes, suiteName, TAG_BYTES } from '../../crypto/suites.ts';
import type { GlobalFlags } from '../flags.ts';
import { MAX_ENVELOPE_BYTES, readInput } from '../input.ts';
import { jsonDocument } from '../json-document.ts';
import { writeOutput, writeText } from '../output.ts';
import { pairsText, table } from '../render.ts';

export interface InspectFlags extends GlobalFlags {
  readonly in?: string;
}

/** The public parts of an envelope, without an agent. Nothing of it is proved: that takes the DEK. */
export function inspect(flags: InspectFlags): void {
  const bytes = readInput({ what: 'ciphertext', maxBytes: MAX_ENVELOPE_BYTES, file: flags.in });
  const facts = publicFacts(parseEnvelope(bytes));
  if (flags.json === true) {
    writeOutput(
      { what: 'facts', kind: 'text', file: undefined, force: false },
      jsonDocument(facts as object as Record<string, unknown>),
    );
  } else {
    writeText(humanText(facts));
  }
}

/** Names of wrap algorithms, docs/envelope.md. */
const WRAP_ALGORITHMS = ['', 'service', 'RSA-OAEP-SHA-256', 'AES-KW', 'AES-KWP', 'AES-256-GCM', 'XAES-256-GCM'];

type Facts = ReturnType<typeof publicFacts>;

function publicFacts(envelope: Envelope) {
  const { bytes, suite, content, dekId, block, sealedOffset } = envelope;
  const nonce = bytes.subarray(sealedOffset, sealedOffset + nonceBytes(suite));
  return {
    verified: false,
    version: 1,
    suite: suiteName(suite),
    content: content === CONTENT.dataKey ? 'data key' : 'message',
    dek_id: dekId.toString('hex'),
    envelope_bytes: bytes.length,
    payload_bytes: bytes.length - sealedOffset - nonce.length - TAG_BYTES,
    nonce: nonce.toString('hex'),
    dek_block: block === undefined ? null : blockFacts(block),
  };
}

function blockFacts(bytes: Buffer) {
  const block = parseDekBlock(bytes);
  return {
    key: block.keyName,
    created_at: instantOf(block.createdMs),
    generation: block.generation,
    partition: Object.fromEntries(block.partition),
    recipients: block.recipients.map((recipient) => ({
      type: (RECIPIENT_SCHEMES[recipient.type] ?? '').replace(':', ''),
      kek: recipient.kekUri,
      kek_version: recipient.kekVersion,
      wrap_algorithm: WRAP_ALGORITHMS[recipient.wrapAlgorithm] ?? String(recipient.wrapAlgorithm),
      wrapped_bytes: recipient.wrapped.length,
    })),
  };
}

/** A block may claim any 64-bit number; Date ends in the year 275760. */
function instantOf(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? `${ms} ms` : date.toISOString();
}

function humanText(facts: Facts): string {
  const block = facts.dek_block;
  const rows: [string, string | undefined][] = [
    [
      'envelope',
      `version ${facts.version}, ${facts.envelope_bytes} bytes, ${facts.content} of ${facts.payload_bytes} bytes`,
    ],
    ['suite', facts.suite],
    ['dek id', facts.dek_id],
    ['nonce', facts.nonce],
    ['dek-block', block === null ? 'detached' : 'inline'],
  ];
  if (block !== null) {
    rows.push(['key', block.key], ['created', block.created_at], ['generation', String(block.generation)]);
    rows.push(['partition', pairsText(block.partition) || 'none']);
    for (const { kek, kek_version, wrap_algorithm, wrapped_bytes } of block.recipients) {
      const version = kek_version === '' ? '' : `, version ${kek_version}`;
      rows.push(['recipient', `${kek}${version}, ${wrap_algorithm}, ${wrapped_bytes} bytes`]);
    }
  }
  rows.push(['verified', 'no: this is what the envelope claims']);
  return `${table(rows)}\n`;
}
