import type { KMSClient } from '@aws-sdk/client-kms';
import { DekdError } from '../../errors.ts';
import type { Kms } from './client.ts';
import type { Connections } from './connections.ts';
import { classify } from './errors.ts';
import { aliasOf } from './uri.ts';

/** An alias can be pointed at another key, and then nothing opens any more: it is refused with the ARN that it means today. */
export async function refuseAlias(
  kms: Kms,
  connections: Connections<KMSClient>,
  reference: string,
  defaultRegion: string | undefined,
): Promise<DekdError> {
  const alias = aliasOf(reference) ?? reference;
  const region = alias.startsWith('arn:') ? alias.split(':')[3] : defaultRegion;
  const refusal = `KEK ${reference} is an alias, which may mean another key tomorrow;`;
  const lookUp = `aws kms describe-key --key-id ${alias} --query KeyMetadata.Arn`;
  if (region === undefined) {
    return new DekdError('INVALID_REQUEST', `${refusal} write the key ARN that it means: ${lookUp}`);
  }
  try {
    const command = new kms.DescribeKeyCommand({ KeyId: alias });
    const { KeyMetadata: metadata } = await connections.run(region, (client) => client.send(command));
    return new DekdError('INVALID_REQUEST', `${refusal} today it means aws-kms:${metadata?.Arn}: write that`);
  } catch (error) {
    const { message } = classify('describe', reference, error);
    const text = `${refusal} write the key ARN that it means: ${lookUp} (looking it up failed: ${message})`;
    return new DekdError('INVALID_REQUEST', text, { cause: error });
  }
}
