import { invalidField } from '../../../../src/errors.ts';
import type { ChildUpstreamOptions, ProviderFacts } from '../../../../src/upstream/child/child-provider.ts';

export interface SoftwareKmsOptions extends ChildUpstreamOptions {
  readonly type: 'vault-transit';
  /** How `open` ends, where it does not open. */
  readonly opening?: 'problem' | 'failure' | 'unknown' | 'crash' | 'hang' | 'garbage';
  /** Where a service answers a call before the provider does: a URL. */
  readonly service?: string;
}

const KEK = /^vault-transit:transit\/keys\/[a-z-]+$/;

/** A provider for tests, on node:crypto. What a KEK is called says how its calls go wrong (misbehaviour.ts). */
export const softwareKms: ProviderFacts<SoftwareKmsOptions> = {
  type: 'vault-transit',
  beside: import.meta.url,
  resolve: (reference) => {
    if (!KEK.test(reference)) throw invalidField('kek', `${JSON.stringify(reference)} is no KEK of a software KMS`);
    return reference;
  },
  environment: ['DEKD_TEST_NEEDED'],
  readPaths: () => [],
};

export function kekNamed(name: string): string {
  return `vault-transit:transit/keys/${name}`;
}
