import { z } from 'zod';
import { awsKmsUpstream } from './aws-kms-schema.ts';
import { oneOf } from './leaves.ts';
import { localUpstream } from './local-schema.ts';
import { pkcs11Upstream } from './pkcs11-schema.ts';
import { vaultTransitUpstream } from './vault-transit-schema.ts';

/** Upstreams that the design has and this version has not: refused by name. */
const LATER_UPSTREAMS = ['gcp-kms', 'azure-keyvault'];

/** The upstream types of later versions, for an answer by name. */
export function isLaterUpstream(type: unknown): boolean {
  return LATER_UPSTREAMS.includes(String(type));
}

const UPSTREAMS = [localUpstream, vaultTransitUpstream, awsKmsUpstream, pkcs11Upstream] as const;

const TYPES = UPSTREAMS.map(({ shape }) => shape.type.value);

export const upstream = z
  .discriminatedUnion('type', UPSTREAMS, {
    error: (issue) => (issue.code === 'invalid_union' ? oneOf(TYPES) : 'a map with type'),
  })
  .describe('A service that holds KEKs, by a name of your choice.');
