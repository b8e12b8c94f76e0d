/**
 * Writes test/vectors/envelope.json: `node tools/make-envelope-vectors.mjs > test/vectors/envelope.json`. Built with node:crypto from
 * docs/envelope.md, sharing nothing with src/ or native/, and the same bytes on every run. Every `refuse` vector of class malformed
 * has a correct MAC and a payload that authenticates wherever its fault allows, so that a reader which forgot one check opens it.
 */
import { malformedBlocks, malformedHeaders, malformedRecipients } from './envelope-vectors/malformed.mjs';
import { malformedPartitions } from './envelope-vectors/malformed-partition.mjs';
import { blockVectors, payloadVectors } from './envelope-vectors/open.mjs';
import { unauthenticBlocks, unauthenticPayloads } from './envelope-vectors/unauthentic.mjs';

const file = {
  format: 'dekd envelope, version 1 (docs/envelope.md); made by tools/make-envelope-vectors.mjs',
  open: [...payloadVectors(), ...blockVectors()],
  refuse: [
    ...malformedHeaders(),
    ...malformedBlocks(),
    ...malformedRecipients(),
    ...malformedPartitions(),
    ...unauthenticPayloads(),
    ...unauthenticBlocks(),
  ],
};
process.stdout.write(`${JSON.stringify(file, null, 1)}\n`);
