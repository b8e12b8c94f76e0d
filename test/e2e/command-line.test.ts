import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { ROOT, startAgent } from '../helpers/agent-process.ts';
import { makePlace } from '../helpers/place.ts';

/** The README's and the banner's own words. */
const COMMAND =
  'echo hello | npx dekctl encrypt --key default --context tenant=acme > c && npx dekctl decrypt --context tenant=acme < c';

test('a newcomer’s two commands: the agent with its state in ./.dekd, and dekctl beside it', async (t) => {
  const { directory, ...place } = makePlace(t);
  const checkout = join(directory, 'checkout');
  mkdirSync(checkout);
  // What `npm ci` makes of a checkout, as far as npx looks.
  symlinkSync(join(ROOT, 'node_modules'), join(checkout, 'node_modules'));
  symlinkSync(join(ROOT, 'package.json'), join(checkout, 'package.json'));
  const state = join(checkout, '.dekd');
  const sockets = { agentSocket: join(state, 'agent.sock'), adminSocket: join(state, 'admin.sock') };
  const options = { args: ['--development'], cwd: checkout };
  const agent = await startAgent(t, { directory, ...place, ...sockets }, options);
  await waitFor(() => agent.stdout().includes(COMMAND));
  t.regex(agent.stdout(), /\.dekd\/agent\.sock/);
  t.regex(agent.stdout(), /\.dekd\/admin\.sock/);
  t.regex(agent.stderr(), /development only/);
  t.is(statSync(state).mode & 0o777, 0o700);

  const run = spawnSync('sh', ['-c', COMMAND], { cwd: checkout, encoding: 'utf8', timeout: 60_000 });
  t.is(run.stderr, '');
  t.is(run.stdout, 'hello\n');
  t.is(run.status, 0);
  t.is((await agent.stop()).code, 0);

  const next = await startAgent(t, { directory, ...place, ...sockets }, options);
  const again = spawnSync('sh', ['-c', 'npx dekctl decrypt --context tenant=acme < c'], {
    cwd: checkout,
    encoding: 'utf8',
  });
  t.is(again.stdout, 'hello\n');
  const opened = await next.client.call('Decrypt', {
    ciphertext: readFileSync(join(checkout, 'c')),
    encryption_context: { tenant: 'acme' },
  });
  t.is(opened.message.plaintext.toString(), 'hello\n');
  t.is((await next.stop()).code, 0);
});

async function waitFor(condition: () => boolean): Promise<void> {
  for (let round = 0; !condition(); round++) {
    if (round > 200) throw new Error('waited in vain');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
