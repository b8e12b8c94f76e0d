import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import test from 'ava';
import { CliError } from '../../src/cli/messages.ts';
import { rpcError } from '../../src/cli/rpc-error.ts';
import { loadProtos } from '../../src/transport/protos.ts';
import { statusDetails } from './fake-agent.ts';

const protos = loadProtos();

function failure(code: number, details: string, bytes?: Buffer): ServiceError {
  const metadata = new Metadata();
  if (bytes !== undefined) metadata.set('grpc-status-details-bin', bytes);
  return Object.assign(new Error(`${code} ${details}`), { code, details, metadata });
}

const info = (code: number, reason: string, domain = 'dekd') => statusDetails(code, 'text', reason, domain);
const cases: readonly [string, ServiceError, number, string][] = [
  ['a reason of ours', failure(3, 'no', info(3, 'INVALID_CIPHERTEXT')), 5, 'INVALID_CIPHERTEXT: no'],
  [
    'a KEK that exists',
    failure(6, 'no', info(6, 'KEY_EXISTS')),
    7,
    'KEY_EXISTS: no; a new version of it is made with `dekctl keys rotate`, another KEK needs another name',
  ],
  ['a reason that a newer agent gives', failure(7, 'no', info(7, 'TOO_NEW')), 4, 'TOO_NEW: no'],
  ['a reason by the name of a built-in', failure(5, 'no', info(5, 'constructor')), 7, 'constructor: no'],
  ["somebody else's reason", failure(7, 'no', info(7, 'POLICY_DENIED', 'example.com')), 4, 'PERMISSION_DENIED: no'],
  ['details that are no message', failure(5, 'no', Buffer.from([255, 255, 255])), 7, 'NOT_FOUND: no'],
  ['no details', failure(9, 'no'), 7, 'FAILED_PRECONDITION: no'],
  ['an unknown code', failure(99, 'no'), 1, 'code 99: no'],
  ['a lost connection', failure(14, 'gone'), 6, 'UNAVAILABLE: the agent ended the connection (gone); try again'],
  [
    'an upstream that is down',
    failure(14, 'down', info(14, 'UPSTREAM_UNAVAILABLE')),
    6,
    'UPSTREAM_UNAVAILABLE: down; `dekctl status` says what failed, docs/outages.md what to do',
  ],
  [
    'no answer in time',
    failure(status.DEADLINE_EXCEEDED, 'x', info(4, 'DEADLINE_EXCEEDED')),
    6,
    'DEADLINE_EXCEEDED: no answer within 50 ms; wait longer with --timeout, or look at `dekctl status`',
  ],
];
for (const [name, error, exitCode, message] of cases) {
  test(`${name}: exit code ${exitCode}`, (t) => {
    const mapped = rpcError(error, protos, 50);
    t.true(mapped instanceof CliError);
    t.is((mapped as CliError).message, message);
    t.is((mapped as CliError).exitCode, exitCode as never);
  });
}

test('what gRPC did not throw stays what it is', (t) => {
  const bug = new TypeError('bug');
  t.is(rpcError(bug, protos, 50), bug);
});
