import { invalidField } from '../../errors.ts';
import { parseKekReference, quoteReference } from '../uri.ts';

// A KEK of AWS KMS is named by its key ARN, which says account and region, so that nothing else of the configuration decides which key it is.
// https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id-key-ARN

/** Small letters only: KMS writes ids so, and URIs are compared byte for byte. The region is missing in the normal form of a multi-Region key. */
const KEY_ARN =
  /^arn:(?<partition>aws(?:-[a-z]+)*):kms:(?<region>[a-z]{2}(?:-[a-z]+)+-\d{1,2})?:(?<account>\d{12}):key\/(?<id>mrk-[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;
const REGION = /^[a-z]{2}(?:-[a-z]+)+-\d{1,2}$/;
const ALIAS = /^(?:arn:aws(?:-[a-z]+)*:kms:[a-z0-9-]+:\d{12}:)?alias\/[A-Za-z0-9/_-]{1,250}$/;
const SCHEME = 'aws-kms:';

/** What a request to KMS needs to know of a KEK. */
export interface KeyArn {
  readonly region: string;
  /** With its region. */
  readonly arn: string;
}

/**
 * A reference in normal form: `aws-kms:` and the key ARN, without the region for a multi-Region key (`mrk-…`), whose replicas are one key.
 * Throws DekdError INVALID_REQUEST for anything else, and for such a key when no region is given to find a replica in.
 */
export function resolveKey(reference: string, region: string | undefined): string {
  const { partition, account, id } = parse(reference, region);
  return isMultiRegion(id) ? `aws-kms:arn:${partition}:kms::${account}:key/${id}` : reference;
}

/** Of a KEK in normal form; `region` is for multi-Region keys. Throws as resolveKey. */
export function keyArn(kek: string, region: string | undefined): KeyArn {
  const key = parse(kek, region);
  const where = isMultiRegion(key.id) ? region! : key.region;
  return { region: where, arn: `arn:${key.partition}:kms:${where}:${key.account}:key/${key.id}` };
}

/** What an alias is called in a request; undefined for a reference that is none. */
export function aliasOf(reference: string): string | undefined {
  const rest = reference.startsWith(SCHEME) ? reference.slice(SCHEME.length) : '';
  return ALIAS.test(rest) ? rest : undefined;
}

interface ParsedArn {
  readonly partition: string;
  /** Empty in the normal form of a multi-Region key. */
  readonly region: string;
  readonly account: string;
  readonly id: string;
}

function parse(reference: string, region: string | undefined): ParsedArn {
  const { type, rest } = parseKekReference(reference);
  if (aliasOf(reference) !== undefined) {
    throw refused(
      reference,
      'is an alias, which may mean another key tomorrow; write the key ARN that it means: ' +
        `aws kms describe-key --key-id ${rest} --query KeyMetadata.Arn`,
    );
  }
  const groups = KEY_ARN.exec(rest)?.groups as (Omit<ParsedArn, 'region'> & { region?: string }) | undefined;
  if (type !== 'aws-kms' || groups === undefined || (groups.region === undefined && !isMultiRegion(groups.id))) {
    const flaw = type === 'aws-kms' ? flawOf(rest) : 'has another scheme';
    throw refused(reference, `is not a KEK of AWS KMS: it ${flaw}; write aws-kms:arn:aws:kms:REGION:ACCOUNT:key/ID`);
  }
  if (isMultiRegion(groups.id) && region === undefined) {
    throw refused(
      reference,
      'is a multi-Region key, the same in every region that it has a replica in; set region at its upstream to the one to ask',
    );
  }
  return { ...groups, region: groups.region ?? '' };
}

const KEY_ID = /^(?:mrk-[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

/** The first thing that keeps it from being a key ARN. */
function flawOf(rest: string): string {
  if (/\s/.test(rest)) return 'has a blank or a line break in it';
  if (/(?:^|:)alias\//.test(rest)) return 'names an alias, and no well-formed one';
  if (/[A-Z]/.test(rest) && KEY_ARN.test(rest.toLowerCase())) return 'has capital letters, and KMS writes small ones';
  if (KEY_ID.test(rest)) return 'is a key id alone, which does not say region and account';
  const [arn, partition = '', service, region = '', account = '', ...resource] = rest.split(':');
  if (arn !== 'arn') return 'does not begin with aws-kms:arn:';
  if (!/^aws(?:-[a-z]+)*$/.test(partition)) return 'has no partition such as aws, aws-cn or aws-us-gov after arn:';
  if (service !== 'kms') return 'is not an ARN of the service kms';
  if (/^\d{12}$/.test(region)) return 'has no region before the account';
  if (region !== '' && !REGION.test(region)) return 'has no region such as eu-west-1 after kms:';
  if (!/^\d{12}$/.test(account)) return 'has no account of 12 digits after the region';
  return (
    flawOfResource(resource.join(':')) ?? 'has no region after kms:, and only multi-Region keys (mrk-…) go without'
  );
}

function flawOfResource(resource: string): string | undefined {
  if (!resource.startsWith('key/')) return 'has no key/ after the account';
  return KEY_ID.test(resource.slice('key/'.length))
    ? undefined
    : 'has no id of a key after key/, 36 characters or mrk-…';
}

function isMultiRegion(id: string): boolean {
  return id.startsWith('mrk-');
}

function refused(reference: string, problem: string): Error {
  return invalidField('kek', `${quoteReference(reference)} ${problem}`);
}

/** For a KEK in normal form that KMS does not know: an ARN cannot be made to order. */
export function howToMakeKey(kek: string): string {
  const arn = parseKekReference(kek).rest;
  const [, , , region] = arn.split(':');
  return region === ''
    ? 'look at `region` of the upstream and the account in the ARN; another key is made with `aws kms create-key --multi-region`, and its ARN named in its place'
    : `look at region and account in the ARN; another key is made with \`aws kms create-key --region ${region}\`, and its ARN named in its place`;
}
