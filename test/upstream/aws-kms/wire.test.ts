import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { open } from '../../../src/upstream/aws-kms/provider.ts';
import { type ChildProvider, FRESH_MS } from '../../../src/upstream/child/child-provider.ts';
import type { FailureClass } from '../../../src/upstream/failure.ts';
import { wrapContext } from '../../contract/upstream-context.ts';
import { fails } from '../../contract/upstream-contract.ts';
import { type Answer, type FakeKms, failing, startFakeKms } from './fake-kms.ts';
import { ANY_CREDENTIALS, FRESH, LIVE, optionsFor, setEnvironment, someDek } from './world.ts';

setEnvironment(ANY_CREDENTIALS);

const ARN = 'arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab';
const KEK = `aws-kms:${ARN}`;
const CONTEXT = wrapContext({ 'dekd:key': 'orders' });
const WRAPPED = { kekVersion: '', algorithm: 1, bytes: new Uint8Array(180).fill(1) };
const BYTES = Buffer.alloc(180, 1).toString('base64');

async function world(
  t: ExecutionContext,
  answerTo: (action: string) => Answer,
): Promise<{ kms: FakeKms; provider: ChildProvider }> {
  const kms = await startFakeKms(answerTo);
  const provider = await open(optionsFor(kms.endpoint), {});
  t.teardown(async () => {
    await provider.close();
    await kms.stop();
  });
  return { kms, provider };
}

const page = '<html><body>Forbidden by the proxy</body></html>';

/** For Decrypt, as recorded in the documentation of KMS and of what stands before it. */
const ANSWERS: readonly [what: string, answer: Answer, failureClass: FailureClass][] = [
  ['ThrottlingException', failing('ThrottlingException'), 'throttled'],
  ['LimitExceededException', failing('LimitExceededException'), 'throttled'],
  ['429 of a gateway', { status: 429, body: page, type: 'text/html' }, 'throttled'],
  ['AccessDeniedException', failing('AccessDeniedException'), 'refused'],
  ['a name with its namespace', failing('AccessDeniedException', 400, 'com.amazonaws.kms#'), 'refused'],
  ['KMSInternalException', failing('KMSInternalException', 500), 'unreachable'],
  ['DependencyTimeoutException', failing('DependencyTimeoutException', 503), 'unreachable'],
  ['KeyUnavailableException', failing('KeyUnavailableException', 500), 'unreachable'],
  ['a name that nobody knows', failing('TomorrowsException'), 'unreachable'],
  ['UnrecognizedClientException', failing('UnrecognizedClientException'), 'unauthenticated'],
  ['ExpiredTokenException', failing('ExpiredTokenException'), 'unauthenticated'],
  ['InvalidSignatureException', failing('InvalidSignatureException'), 'unauthenticated'],
  ["a proxy's 403", { status: 403, body: page, type: 'text/html' }, 'unreachable'],
  ["a proxy's 200", { status: 200, body: page, type: 'text/html' }, 'unreachable'],
  [
    "an API gateway's 403",
    { status: 403, body: { message: 'Forbidden' }, headers: { 'x-amzn-errortype': 'AccessDeniedException' } },
    'unreachable',
  ],
  ['503 without a body', { status: 503, body: '' }, 'unreachable'],
  ['403 without a body', { status: 403, body: '' }, 'unreachable'],
  ['a redirect', { status: 302, body: '', headers: { location: 'http://127.0.0.1:1/' } }, 'unreachable'],
  ['JSON that is cut off', { status: 200, body: '{"KeyId":' }, 'unreachable'],
  ['null', { status: 200, body: 'null' }, 'unreachable'],
  ['no body', { status: 200, body: '' }, 'unreachable'],
  [
    'another key',
    { status: 200, body: { KeyId: `${ARN}0`, Plaintext: Buffer.alloc(32).toString('base64') } },
    'unreachable',
  ],
  ['no plaintext', { status: 200, body: { KeyId: ARN } }, 'unreachable'],
  ['a plaintext of 16 bytes', { status: 200, body: { KeyId: ARN, Plaintext: 'AAAAAAAAAAAAAAAAAAAAAA==' } }, 'invalid'],
  ['a connection that is reset', 'reset', 'unreachable'],
];

for (const [what, answer, failureClass] of ANSWERS) {
  test(`unwrap: ${what} is ${failureClass}, after one request`, async (t) => {
    const { kms, provider } = await world(t, () => answer);
    const scope = failureClass === 'refused' ? 'access' : undefined;
    await fails(t, provider.unwrap(KEK, WRAPPED, CONTEXT, LIVE), failureClass, scope);
    t.deepEqual(kms.asked, ['Decrypt']);
  });
}

const WRAPS: readonly [what: string, answer: Answer][] = [
  ['no ciphertext', { status: 200, body: { KeyId: ARN } }],
  ['an empty ciphertext', { status: 200, body: { KeyId: ARN, CiphertextBlob: '' } }],
  ['a ciphertext that Decrypt would not take', { status: 200, body: { KeyId: ARN, CiphertextBlob: BYTES.repeat(40) } }],
  ['another key', { status: 200, body: { KeyId: 'arn', CiphertextBlob: BYTES } }],
  ['an error that only Decrypt may give', failing('InvalidCiphertextException')],
];

for (const [what, answer] of WRAPS) {
  test(`wrap: ${what} is unreachable`, async (t) => {
    const { provider } = await world(t, () => answer);
    await fails(t, provider.wrap(KEK, someDek(), CONTEXT, LIVE), 'unreachable');
  });
}

const described = (KeyState: string, Arn = ARN): Answer => {
  const KeyMetadata = {
    Arn,
    KeyId: ARN.slice(-36),
    KeyState,
    KeySpec: 'SYMMETRIC_DEFAULT',
    KeyUsage: 'ENCRYPT_DECRYPT',
  };
  return { status: 200, body: { KeyMetadata } };
};

const STATES: readonly [what: string, describe: Answer, condition: string | undefined][] = [
  ['Disabled', described('Disabled'), 'disabled'],
  ['PendingDeletion', described('PendingDeletion'), 'pending-deletion'],
  ['PendingReplicaDeletion', described('PendingReplicaDeletion'), 'pending-deletion'],
  ['PendingImport', described('PendingImport'), undefined],
  ['Unavailable', described('Unavailable'), undefined],
  ['Enabled', described('Enabled'), undefined],
  ['another key', described('Disabled', `${ARN}0`), undefined],
  ['that nobody may ask', failing('AccessDeniedException'), undefined],
  ['nothing that can be read', { status: 403, body: page, type: 'text/html' }, undefined],
];

for (const [what, describe, condition] of STATES) {
  test(`after KMSInvalidStateException DescribeKey decides: ${what}`, async (t) => {
    const { kms, provider } = await world(t, (action) =>
      action === 'DescribeKey' ? describe : failing('KMSInvalidStateException'),
    );
    for (const call of [provider.wrap(KEK, someDek(), CONTEXT, LIVE), provider.unwrap(KEK, WRAPPED, CONTEXT, LIVE)]) {
      const refused = condition !== undefined;
      const failure = await fails(t, call, refused ? 'refused' : 'unreachable', refused ? 'kek' : undefined);
      t.is(failure?.condition as string | undefined, condition);
    }
    t.is(kms.asked.filter((action) => action === 'DescribeKey').length, 2);
  });
}

test('describe: a state that says nothing of a person is unreachable', async (t) => {
  const { provider } = await world(t, () => described('Unavailable'));
  await fails(t, provider.describe(KEK, LIVE), 'unreachable');
});

test('a silent server is left when the call is given up', async (t) => {
  const { kms, provider } = await world(t, () => 'silent');
  const control = new AbortController();
  const call = provider.unwrap(KEK, WRAPPED, CONTEXT, { signal: control.signal, fresh: false });
  const timer = setInterval(() => kms.asked.length > 0 && control.abort(), 10);
  t.teardown(() => clearInterval(timer));
  const startedAtMs = performance.now();
  await fails(t, call, 'unreachable');
  t.true(performance.now() - startedAtMs < 2_000);
});

test('a silent server that nobody gives up on is left after 5 seconds', async (t) => {
  const { provider } = await world(t, () => 'silent');
  const startedAtMs = performance.now();
  const failure = await fails(t, provider.unwrap(KEK, WRAPPED, CONTEXT, LIVE), 'unreachable');
  t.regex(failure?.message ?? '', /TimeoutError/);
  t.true(performance.now() - startedAtMs < 8_000);
});

test('calls share a connection; a confirming call has one of its own', async (t) => {
  const body = { KeyId: ARN, CiphertextBlob: BYTES };
  const { kms, provider } = await world(t, () => ({ status: 200, body }));
  for (let call = 0; call < 3; call++) await provider.wrap(KEK, someDek(), CONTEXT, LIVE);
  t.is(kms.connections(), 1);
  // A younger client is fresh itself.
  await sleep(FRESH_MS);
  await provider.wrap(KEK, someDek(), CONTEXT, FRESH);
  t.is(kms.connections(), 2);
});
