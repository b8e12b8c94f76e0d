import { KMSClient } from '@aws-sdk/client-kms';
import { secretBuffer } from '../../../src/crypto/secret-buffer.ts';
import type { AwsKmsOptions } from '../../../src/upstream/aws-kms/options.ts';
import type { ChildCall } from '../../../src/upstream/child/child-provider.ts';

/** A call that nobody gives up. */
export const LIVE: ChildCall = { signal: new AbortController().signal, fresh: false };
export const FRESH: ChildCall = { ...LIVE, fresh: true };

/** For a service that takes any credentials. */
export const ANY_CREDENTIALS = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'of-no-account' };

/** What the provider's credential chain reads. No metadata service is asked. */
export function setEnvironment(credentials: {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}): void {
  process.env['AWS_ACCESS_KEY_ID'] = credentials.accessKeyId;
  process.env['AWS_SECRET_ACCESS_KEY'] = credentials.secretAccessKey;
  delete process.env['AWS_SESSION_TOKEN'];
  if (credentials.sessionToken !== undefined) process.env['AWS_SESSION_TOKEN'] = credentials.sessionToken;
  process.env['AWS_EC2_METADATA_DISABLED'] = 'true';
  process.env['HOME'] = '/nonexistent';
}

/** What an administrator of the keys uses. */
export function adminClient(endpoint: string, region = 'eu-west-1', credentials = ANY_CREDENTIALS): KMSClient {
  return new KMSClient({ region, endpoint, credentials, maxAttempts: 1 });
}

export function optionsFor(endpoint: string, more: Partial<AwsKmsOptions> = {}): AwsKmsOptions {
  return { type: 'aws-kms', endpoint, ...more };
}

/** 00 01 02 … 1f */
export function someDek(): Uint8Array {
  return secretBuffer(32).map((_, index) => index);
}
