import { childFields } from './child-schema.ts';
import { leaf, map, text } from './leaves.ts';
import { upstreamType } from './names.ts';

const address = leaf('an address such as https://vpce-0123.kms.eu-west-1.vpce.amazonaws.com', origin);

export const awsKmsUpstream = map('a map with type', {
  type: upstreamType('aws-kms'),
  region: text('a region such as eu-west-1', /^[a-z]{2}(?:-[a-z]+)+-\d{1,2}$/)
    .optional()
    .meta({ without: 'multi-Region keys are refused' })
    .describe('Where multi-Region keys (`mrk-`) are asked for. Every other key is asked for where its ARN says.'),
  endpoint: address
    .optional()
    .meta({ without: 'the region’s own' })
    .describe('Address of KMS, such as a VPC endpoint’s. `http:` only on loopback.'),
  role: text('the ARN of an IAM role', /^arn:aws(?:-[a-z]+)*:iam::\d{12}:role\/[\w+=,.@/-]{1,512}$/)
    .optional()
    .meta({ without: 'the credentials found are used' })
    .describe('A role to assume with the credentials that the AWS SDK’s default chain finds.'),
  external_id: text('an external id of 2 to 1224 characters', /^[\w+=,.@:/-]{2,1224}$/)
    .optional()
    .meta({ without: 'none' })
    .describe('What the role’s trust policy asks for as `sts:ExternalId`.'),
  sts_endpoint: address
    .optional()
    .meta({ without: 'the region’s own' })
    .describe('Address of STS, which gives out the credentials of `role`. `http:` only on loopback.'),
  ...childFields,
}).describe('`aws-kms`: AWS Key Management Service ([how to set it up](upstreams/aws-kms.md)).');

function origin(value: unknown): string | undefined {
  if (typeof value !== 'string' || !URL.canParse(value)) return undefined;
  const secure = /^https:\/\/[A-Za-z0-9.:[\]-]+\/?$/.test(value);
  const local = /^http:\/\/(?:127\.0\.0\.1|\[::1\]|localhost)(?::\d+)?\/?$/.test(value);
  return secure || local ? new URL(value).origin : undefined;
}
