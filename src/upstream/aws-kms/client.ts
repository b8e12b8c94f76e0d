import type { KMSClient } from '@aws-sdk/client-kms';
import { CredentialsFailure } from './errors.ts';
import type { AwsKmsOptions } from './options.ts';

/** The SDK's modules, which provider.ts loads. */
export type Kms = typeof import('@aws-sdk/client-kms');
export type Credentials = typeof import('@aws-sdk/credential-providers');

/** For what the agent's own time-out of an attempt (1 s) does not end: the calls of a start, and those to STS. */
const CONNECT_TIMEOUT_MS = 3_000;
const REQUEST_TIMEOUT_MS = 5_000;

/** A client of one region, with connections and credentials of its own. */
export function makeClient(kms: Kms, credentials: Credentials, options: AwsKmsOptions, region: string): KMSClient {
  return new kms.KMSClient({
    region,
    ...(options.endpoint !== undefined && { endpoint: options.endpoint }),
    credentials: credentialsOf(credentials, options, region),
    // The agent retries, within its caller's deadline.
    maxAttempts: 1,
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      // Without it the SDK only logs.
      throwOnRequestTimeout: true,
    },
    userAgentAppId: 'dekd',
  });
}

/** The SDK's default chain, and with `role` what STS gives for it. Files are read anew for each client: others rotate them. */
function credentialsOf(providers: Credentials, options: AwsKmsOptions, region: string) {
  const chain = providers.fromNodeProviderChain({ ignoreCache: true });
  const { role, externalId, stsEndpoint } = options;
  const found =
    role === undefined
      ? chain
      : providers.fromTemporaryCredentials({
          masterCredentials: chain,
          params: {
            RoleArn: role,
            RoleSessionName: 'dekd',
            ...(externalId !== undefined && { ExternalId: externalId }),
          },
          clientConfig: { region, maxAttempts: 1, ...(stsEndpoint !== undefined && { endpoint: stsEndpoint }) },
        });
  return async (properties?: Parameters<typeof found>[0]) => {
    try {
      return await found(properties);
    } catch (error) {
      throw new CredentialsFailure('no credentials', { cause: error });
    }
  };
}
