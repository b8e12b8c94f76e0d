import { homedir } from 'node:os';
import { join } from 'node:path';
import type { ChildUpstreamOptions, ProviderFacts } from '../child/child-provider.ts';
import { keyArn, resolveKey } from './uri.ts';

/** Settings of an `aws-kms` upstream. Credentials are not among them: the SDK finds them where it always does. */
export interface AwsKmsOptions extends ChildUpstreamOptions {
  readonly type: 'aws-kms';
  /** Where multi-Region keys (`mrk-`) are asked for; every other key is asked for where its ARN says. Default none: such keys are refused. */
  readonly region?: string;
  /** Address of KMS, `https://` or, on this machine only, `http://`. Default the region's own. */
  readonly endpoint?: string;
  /** ARN of an IAM role to assume with the credentials found. Default none. */
  readonly role?: string;
  /** What the role's trust policy asks for as `sts:ExternalId`. Default none. */
  readonly externalId?: string;
  /** Address of STS, which gives out a role's credentials, as `endpoint`. Default the region's own. */
  readonly stsEndpoint?: string;
  /** References of the configuration that are aliases: looked up at open, which then refuses them with the ARN that each means. */
  readonly aliases?: readonly string[];
}

/** Where the SDK's credential chain looks, and what else of the environment decides where it calls. */
const VARIABLES = [
  'HOME',
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'AWS_CREDENTIAL_EXPIRATION',
  'AWS_PROFILE',
  'AWS_CONFIG_FILE',
  'AWS_SHARED_CREDENTIALS_FILE',
  'AWS_ROLE_ARN',
  'AWS_ROLE_SESSION_NAME',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  'AWS_CONTAINER_AUTHORIZATION_TOKEN',
  'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE',
  'AWS_EC2_METADATA_DISABLED',
  'AWS_EC2_METADATA_SERVICE_ENDPOINT',
  'AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE',
  'AWS_EC2_METADATA_V1_DISABLED',
  'AWS_REGION',
  'AWS_DEFAULT_REGION',
  'AWS_USE_FIPS_ENDPOINT',
  'AWS_USE_DUALSTACK_ENDPOINT',
] as const;

const FILE_VARIABLES = [
  'AWS_CONFIG_FILE',
  'AWS_SHARED_CREDENTIALS_FILE',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
  'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE',
] as const;

export const awsKms: ProviderFacts<AwsKmsOptions> = {
  type: 'aws-kms',
  beside: import.meta.url,
  resolve: (reference, { region }) => resolveKey(reference, region),
  endpoint: (kek, { region, endpoint }) => endpoint ?? keyArn(kek, region).region,
  packages: ['@aws-sdk/client-kms', '@aws-sdk/credential-providers'],
  environment: VARIABLES,
  readPaths: () => credentialFiles(process.env),
};

/** Files that the SDK's credential chain reads, whether or not they exist. */
export function credentialFiles(environment: Readonly<Record<string, string | undefined>>): string[] {
  const named = FILE_VARIABLES.map((name) => environment[name]).filter((path) => path !== undefined && path !== '');
  return [join(environment['HOME'] ?? homedir(), '.aws'), ...(named as string[])];
}
