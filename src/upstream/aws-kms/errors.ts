import { type FailureClass, type KekCondition, type RefusalScope, UpstreamFailure } from '../failure.ts';

// What an error of AWS KMS, of its SDK, or of the credentials means. It is told by its name, never by its message: messages are empty at times and
// differ between regions. docs/upstreams/aws-kms.md has this table for operators; a test compares the two.

const API = 'https://docs.aws.amazon.com/kms/latest/APIReference/';
const GUIDE = 'https://docs.aws.amazon.com/kms/latest/developerguide/';
const DECRYPT = `${API}API_Decrypt.html#API_Decrypt_Errors`;
const ENCRYPT = `${API}API_Encrypt.html#API_Encrypt_Errors`;
const COMMON = `${API}CommonErrors.html`;
const SIGNING = 'https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html';
const THROTTLING = `${GUIDE}throttling.html`;
/** Answers of AWS that LocalStack recorded for its own tests. */
const RECORDED =
  'https://github.com/localstack/localstack/blob/0d4768330f496af9f630890e34e8b62238c2c429/tests/aws/services/kms/test_kms.snapshot.json';

export interface Line {
  readonly class: FailureClass;
  readonly scope?: RefusalScope;
  readonly condition?: KekCondition;
  /** Only these calls can mean that; from another one it is unreachable. */
  readonly only?: readonly Operation[];
  /** The vendor's page that says so; where none is known, its recorded answers. */
  readonly source: string;
}

/** By the name of the error. Whatever is not here is unreachable. KMSInvalidStateException is: DescribeKey decides what it means. */
export const CLASSIFICATION: Readonly<Record<string, Line>> = {
  AccessDeniedException: { class: 'refused', scope: 'access', source: COMMON },
  DisabledException: { class: 'refused', scope: 'kek', condition: 'disabled', source: DECRYPT },
  NotFoundException: { class: 'refused', scope: 'kek', condition: 'missing', source: DECRYPT },

  InvalidCiphertextException: { class: 'invalid', only: ['unwrap'], source: DECRYPT },
  IncorrectKeyException: { class: 'invalid', only: ['unwrap'], source: DECRYPT },

  // What callers make of such a call: the blob and the encryption context. The errors of Encrypt and Decrypt do not list it.
  ValidationException: { class: 'invalid', only: ['wrap', 'unwrap'], source: RECORDED },

  ThrottlingException: { class: 'throttled', source: THROTTLING },
  LimitExceededException: { class: 'throttled', source: `${API}API_CreateGrant.html#API_CreateGrant_Errors` },

  ExpiredTokenException: { class: 'unauthenticated', source: COMMON },
  UnrecognizedClientException: { class: 'unauthenticated', source: COMMON },
  InvalidClientTokenId: { class: 'unauthenticated', source: COMMON },
  InvalidSignatureException: { class: 'unauthenticated', source: SIGNING },
  IncompleteSignature: { class: 'unauthenticated', source: COMMON },
  IncompleteSignatureException: { class: 'unauthenticated', source: SIGNING },
  MissingAuthenticationToken: { class: 'unauthenticated', source: COMMON },
  MissingAuthenticationTokenException: { class: 'unauthenticated', source: SIGNING },
  RequestExpired: { class: 'unauthenticated', source: COMMON },

  // Named here although all else is unreachable too, so that nobody takes them for an omission.
  KMSInternalException: { class: 'unreachable', source: ENCRYPT },
  DependencyTimeoutException: { class: 'unreachable', source: ENCRYPT },
  KeyUnavailableException: { class: 'unreachable', source: ENCRYPT },
  InvalidKeyUsageException: { class: 'unreachable', source: ENCRYPT },
};

/** Key states that refuse; in every other one (an import that has not come, a key store that is not connected) KMS is taken for out of order. */
export const REFUSING_STATES: Readonly<Record<string, KekCondition>> = {
  Disabled: 'disabled',
  PendingDeletion: 'pending-deletion',
  PendingReplicaDeletion: 'pending-deletion',
};

export const INVALID_STATE = 'KMSInvalidStateException';

/** The SDK found no credentials, or STS or a metadata service gave none: thrown by our own provider of credentials. */
export class CredentialsFailure extends Error {
  override readonly name = 'CredentialsFailure';
}

export type Operation = 'wrap' | 'unwrap' | 'describe';

/** Anything thrown by a call of the SDK. Never throws, and never repeats the SDK's message, which may hold a signature or a token. */
export function classify(operation: Operation, kek: string, thrown: unknown): UpstreamFailure {
  if (thrown instanceof UpstreamFailure) return thrown;
  const text = `${operation} with ${kek}: ${describeError(thrown)}`;
  if (thrown instanceof CredentialsFailure) return new UpstreamFailure('unauthenticated', text, { cause: thrown });
  const line = lineOf(operation, thrown);
  if (line === undefined) return new UpstreamFailure('unreachable', text, { cause: thrown });
  const { scope, condition } = line;
  return new UpstreamFailure(line.class, text, {
    cause: thrown,
    ...(scope !== undefined && { scope }),
    ...(condition !== undefined && { condition }),
  });
}

/** A state that DescribeKey told after KMSInvalidStateException. */
export function stateFailure(kek: string, state: string | undefined): UpstreamFailure {
  const condition = Object.hasOwn(REFUSING_STATES, state ?? '') ? REFUSING_STATES[state!] : undefined;
  const text = `${kek} is in state ${state ?? 'unknown'}`;
  return condition === undefined
    ? new UpstreamFailure('unreachable', text)
    : new UpstreamFailure('refused', text, { scope: 'kek', condition });
}

/** Whether KMS itself says that. A proxy's page or a gateway's answer has not its form: JSON with `__type`. */
export function isKmsAnswer(thrown: unknown): thrown is Error & { $metadata: Metadata } {
  if (!(thrown instanceof Error)) return false;
  const { __type: type } = thrown as { __type?: unknown };
  const status = metadataOf(thrown)?.httpStatusCode ?? 0;
  return typeof type === 'string' && status >= 400 && status < 500;
}

interface Metadata {
  readonly httpStatusCode?: number;
  readonly requestId?: string;
}

function lineOf(operation: Operation, thrown: unknown): Line | undefined {
  const metadata = metadataOf(thrown);
  if (!isKmsAnswer(thrown)) return metadata?.httpStatusCode === 429 ? CLASSIFICATION['ThrottlingException'] : undefined;
  const line = Object.hasOwn(CLASSIFICATION, thrown.name) ? CLASSIFICATION[thrown.name] : undefined;
  return line?.only === undefined || line.only.includes(operation) ? line : undefined;
}

/** Name, code, status and request id: what an operator and AWS's support need. */
function describeError(thrown: unknown): string {
  if (!(thrown instanceof Error)) return 'failed in an unknown way';
  const fault = thrown instanceof CredentialsFailure ? thrown.cause : thrown;
  const { httpStatusCode, requestId } = metadataOf(fault) ?? {};
  const { code } = (fault ?? {}) as { code?: unknown };
  const from = thrown instanceof CredentialsFailure ? `no credentials: ${nameOf(fault)}` : thrown.name;
  const facts = [
    typeof code === 'string' ? code : undefined,
    httpStatusCode === undefined ? undefined : `HTTP ${httpStatusCode}`,
    requestId === undefined ? undefined : `request ${requestId}`,
  ].filter((fact) => fact !== undefined);
  return facts.length === 0 ? from : `${from} (${facts.join(', ')})`;
}

function nameOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.name : 'an unknown error';
}

function metadataOf(thrown: unknown): Metadata | undefined {
  return (thrown as { $metadata?: Metadata } | null | undefined)?.$metadata;
}
