import { status } from '@grpc/grpc-js';
import test from 'ava';
import { fakeAgent, type Request, refuse } from '../fake-agent.ts';
import { dekctl } from '../run.ts';

let last: Request;
const agent = fakeAgent(test, {
  StartDrill: (request) => {
    last = request;
    if (request.upstream === 'others') refuse(status.PERMISSION_DENIED, 'uid 1 may not', 'POLICY_DENIED');
    if (request.failure_class === 'slow') refuse(status.INVALID_ARGUMENT, 'failure_class: is none', 'INVALID_REQUEST');
    return { ends_at: { seconds: 120 } };
  },
  StopDrill: (request) => {
    last = request;
    return { stopped: request.upstream === 'vault' };
  },
});
const drill = async (...args: string[]) => {
  const { code, stdout, stderr } = await dekctl(['drill', ...args, ...agent.flags]);
  return { code, stdout: stdout.toString(), stderr };
};
const outage = (...args: string[]) => drill('outage', '--upstream', 'vault', ...args);

test.serial('outage: what it does, until when, and how it is ended', async (t) => {
  const { code, stdout } = await outage('--for', '1500ms');
  t.is(code, 0);
  t.is(
    stdout,
    'a drill: to this agent upstream vault looks unreachable until 1970-01-01T00:02:00.000Z; what is held serves for its ttl and grace; ' +
      'end it with: dekctl drill stop --upstream vault\n',
  );
  t.like(last, { upstream: 'vault', failure_class: 'unreachable', duration: { seconds: '1', nanos: 500_000_000 } });
  t.regex((await outage('--for', '2m', '--class', 'throttled')).stdout, /looks throttled until/);
  t.deepEqual(last.duration, { seconds: '120', nanos: 0 });
  t.deepEqual(JSON.parse((await outage('--for', '2m', '--json')).stdout), { ends_at: '1970-01-01T00:02:00.000Z' });
});

test.serial('outage of class refused: it says that DEKs are zeroed', async (t) => {
  const { stdout } = await outage('--for', '2m', '--class', 'refused');
  t.regex(
    stdout,
    /looks refused until .*; as after a revocation, what it vouched for is zeroed within seconds and refused;/,
  );
  t.is(last.failure_class, 'refused');
});

test.serial('stop: a drill that runs, and none', async (t) => {
  t.deepEqual(await drill('stop', '--upstream', 'vault'), {
    code: 0,
    stdout: 'the drill at upstream vault is over: it answers for itself again\n',
    stderr: '',
  });
  t.is((await drill('stop', '--upstream', 'idle')).stdout, 'no drill ran at upstream idle\n');
  t.deepEqual(JSON.parse((await drill('stop', '--upstream', 'idle', '--json')).stdout), { stopped: false });
});

test.serial('what is wrong: flags and the class 2, no right 4', async (t) => {
  const { code, stderr } = await outage();
  t.is(code, 2);
  t.regex(stderr, /^dekctl: required option '--for <duration>' not specified; see `dekctl drill outage --help`\n$/);
  for (const wrong of ['long', '2', '0s', '61m', '30d']) {
    t.like(await outage('--for', wrong), {
      code: 2,
      stderr: `dekctl: --for ${wrong}: expected a duration from 1ms to 1h, such as 2m\n`,
    });
  }
  t.like(await outage('--for', '2m', '--class', 'slow'), {
    code: 2,
    stderr: 'dekctl: INVALID_REQUEST: failure_class: is none\n',
  });
  t.like(await drill('outage', '--upstream', 'others', '--for', '2m'), {
    code: 4,
    stderr: 'dekctl: POLICY_DENIED: uid 1 may not\n',
  });
  t.is((await drill('stop')).code, 2);
});
