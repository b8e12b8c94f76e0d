import { createServer } from 'node:net';
import { join } from 'node:path';
import test from 'ava';
import { fakeAgent } from '../fake-agent.ts';
import { dekctl, temporaryDirectory } from '../run.ts';

const directory = temporaryDirectory(test);
const agent = fakeAgent(test, {
  Check: ({ service }) => ({ status: service === 'dekd.v1.KeyAgent' ? 'NOT_SERVING' : 'SERVING' }),
});

test.serial('serving ends with 0', async (t) => {
  t.deepEqual(await dekctl(['health', '--service', '', ...agent.flags]), {
    code: 0,
    stdout: Buffer.from('SERVING\n'),
    stderr: '',
  });
});

test.serial('not serving ends with 1, and is what it is asked for', async (t) => {
  t.deepEqual(await dekctl(['health', ...agent.flags]), { code: 1, stdout: Buffer.from('NOT_SERVING\n'), stderr: '' });
  const json = await dekctl(['health', '--json', ...agent.flags]);
  t.deepEqual(JSON.parse(json.stdout.toString()), { service: 'dekd.v1.KeyAgent', status: 'NOT_SERVING' });
});

test.serial('an agent that hangs ends with 6 at the time-out', async (t) => {
  const path = join(directory, 'mute.sock');
  const server = createServer(() => undefined);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const { code, stderr } = await dekctl(['health', '--timeout', '300ms', '--socket', path]);
  server.close();
  t.is(code, 6);
  t.is(
    stderr,
    'dekctl: DEADLINE_EXCEEDED: no answer within 300 ms; wait longer with --timeout, or look at `dekctl status`\n',
  );
});
