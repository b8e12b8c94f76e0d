import test from 'ava';
import { type DetailSerializers, failedCall, STATUS_OF } from '../../src/api/status.ts';
import { DekdError, REASONS, type Reason } from '../../src/errors.ts';
import { loadProtos } from '../../src/transport/protos.ts';
import { makeCall } from './parts.ts';

// biome-ignore lint/suspicious/noExplicitAny: what proto-loader makes of a message
type Codec = { serialize(message: object): Buffer; deserialize(bytes: Buffer): any };

const PROTOS = loadProtos();
const codec = (name: string): Codec => PROTOS[`google.rpc.${name}`] as unknown as Codec;
const SERIALIZE: DetailSerializers = {
  status: (message) => codec('Status').serialize(message),
  errorInfo: (message) => codec('ErrorInfo').serialize(message),
  retryInfo: (message) => codec('RetryInfo').serialize(message),
};

/** Design, section 3: the code of each reason, by the numbers of google.rpc.Code. */
const CODES: Readonly<Record<Reason, number>> = {
  INVALID_REQUEST: 3,
  INVALID_CIPHERTEXT: 3,
  KEY_MISMATCH: 3,
  POLICY_DENIED: 7,
  KEY_NOT_FOUND: 5,
  KEY_EXISTS: 6,
  KEY_DISABLED: 9,
  KEY_ARCHIVED: 9,
  KEY_PENDING_DELETION: 9,
  KEY_DESTROYED: 9,
  UPSTREAM_REFUSED: 7,
  UPSTREAM_UNAVAILABLE: 14,
  UPSTREAM_THROTTLED: 14,
  UPSTREAM_UNAUTHENTICATED: 14,
  UPSTREAM_FAULT: 14,
  QUOTA_EXCEEDED: 8,
  MESSAGE_TOO_LARGE: 8,
  SECRET_MEMORY_EXHAUSTED: 8,
  DEADLINE_EXCEEDED: 4,
  CANCELLED: 1,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
};

function detailsOf(bytes: Uint8Array) {
  const { code, message, details } = codec('Status').deserialize(Buffer.from(bytes));
  const find = (name: string): Buffer | undefined =>
    details.find(({ type_url }: { type_url: string }) => type_url === `type.googleapis.com/google.rpc.${name}`)?.value;
  return { code, message, errorInfo: find('ErrorInfo'), retryInfo: find('RetryInfo'), count: details.length };
}

test('each reason has its code, in the status and in its details', (t) => {
  t.deepEqual(Object.keys(CODES).sort(), Object.keys(REASONS).sort());
  t.deepEqual(Object.keys(STATUS_OF).sort(), Object.keys(REASONS).sort());
  for (const reason of Object.keys(REASONS) as Reason[]) {
    const failed = failedCall(
      new DekdError(reason, 'a problem', { metadata: { key: 'orders' } }),
      makeCall(),
      SERIALIZE,
    );
    t.is(failed.code, CODES[reason], reason);
    t.is(failed.retryPushbackMs, undefined);
    const { code, message, errorInfo, count } = detailsOf(failed.details);
    t.deepEqual([code, message, count], [failed.code, failed.message, 1]);
    const info = codec('ErrorInfo').deserialize(errorInfo ?? Buffer.alloc(0));
    t.like(info, { reason, domain: 'dekd' });
    t.is(info.metadata.key, 'orders');
  }
});

test('what is our fault carries the request’s id and no cause; what is the caller’s does not', (t) => {
  const internal = failedCall(DekdError.from(new Error('a secret path')), makeCall(), SERIALIZE);
  t.is(internal.message, 'internal error (request request-1)');
  t.false(Buffer.from(internal.details).includes('a secret path'));
  const info = codec('ErrorInfo').deserialize(detailsOf(internal.details).errorInfo ?? Buffer.alloc(0));
  t.is(info.metadata.request_id, 'request-1');
  t.is(failedCall(new DekdError('KEY_MISMATCH', 'another'), makeCall(), SERIALIZE).message, 'another');
});

test('a retry has its time in RetryInfo and in the pushback', (t) => {
  const failed = failedCall(
    new DekdError('UPSTREAM_UNAVAILABLE', 'down', { retryAfterMs: 1_500.2 }),
    makeCall(),
    SERIALIZE,
  );
  t.is(failed.retryPushbackMs, 1_501);
  const { retryInfo, count } = detailsOf(failed.details);
  t.is(count, 2);
  const { retry_delay } = codec('RetryInfo').deserialize(retryInfo ?? Buffer.alloc(0));
  t.is(retry_delay.seconds, '1');
  t.true(Math.abs(retry_delay.nanos - 500_200_000) < 1_000);
});

test('however long a text and its facts are, the trailers fit into the 8 KiB that stock clients take', (t) => {
  for (const character of ['x', ' ', '\n', 'é', '€', '😀', '\ud800']) {
    const long = character.repeat(1_000_000);
    const metadata = { field: long, upstream: long, key: long };
    for (const reason of ['INVALID_REQUEST', 'INTERNAL'] as const) {
      const error = new DekdError(reason, `upstream: "${long}" is none`, { metadata, retryAfterMs: 1_000 });
      const { message, details } = failedCall(error, makeCall(), SERIALIZE);
      // 1 KiB for the names, the other headers and a request's id.
      const bytes = encodeURI(message).length + Buffer.from(details).toString('base64').length;
      t.true(bytes <= 7 * 1024, `${reason}, ${JSON.stringify(character)}: ${bytes}`);
      t.regex(message, /^upstream: ".*" is none( \(request request-1\))?$/s);
      t.is(detailsOf(details).message, message);
    }
  }
});
