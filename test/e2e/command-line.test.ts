import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { ROOT } from '../helpers/agent-process.ts';
import { grpcFrame, openRawCall } from '../helpers/raw-call.ts';
import { test } from '../helpers/serial.ts';

/** The README's and the banner's own words. */
const DECRYPT = 'npx dekctl decrypt --context tenant=acme < c';
const COMMAND = `echo hello | npx dekctl encrypt --key default --context tenant=acme > c && ${DECRYPT}`;
const TIMEOUT_MS = 60_000;

test('a newcomer’s commands: npm start, dekctl in a second shell, Ctrl-C, and the same tomorrow', async (t) => {
  const checkout = makeCheckout(t);
  const agent = await npmStart(t, checkout);
  t.true(agent.stdout().includes(COMMAND));
  t.regex(agent.stdout(), /\.dekd\/agent\.sock/);
  t.regex(agent.stdout(), /\.dekd\/admin\.sock/);
  t.regex(agent.stdout(), /development only/);
  t.is(statSync(join(checkout, '.dekd')).mode & 0o777, 0o700);
  t.deepEqual(shell(checkout, COMMAND), { status: 0, stdout: 'hello\n', stderr: '' });
  const call = await openRawCall(join(checkout, '.dekd', 'agent.sock'), '/dekd.v1.KeyAgent/DescribeKey');
  const ended = agent.interrupt();
  // npm passes the interrupt on that the terminal has sent already: not the user's second one.
  await sleep(300);
  call.write(grpcFrame(Buffer.from('\n\x07default')));
  call.end();
  t.is((await call.finished()).status, '0');
  t.is(await ended, 0);
  const alone = shell(checkout, DECRYPT);
  t.is(alone.status, 3);
  t.regex(alone.stderr, /^dekctl: no agent listens on .*agent\.sock; start one with .*\n$/);

  const next = await npmStart(t, checkout);
  t.deepEqual(shell(checkout, DECRYPT), { status: 0, stdout: 'hello\n', stderr: '' });
  t.is(await next.interrupt(), 0);
});

/** What `git clone` and `npm ci` make, without their time. npx wants real files, and keeps a link to the package in npm's cache. */
function makeCheckout(t: ExecutionContext): string {
  const checkout = mkdtempSync(join(tmpdir(), 'dekd-checkout-'));
  t.teardown(() => rmSync(checkout, { recursive: true, force: true }));
  for (const name of ['package.json', '.npmrc', 'bin', 'src', 'proto']) {
    cpSync(join(ROOT, name), join(checkout, name), { recursive: true });
  }
  for (const name of ['node_modules', 'native']) symlinkSync(join(ROOT, name), join(checkout, name));
  return checkout;
}

/** As in a terminal: in a process group of its own, which Ctrl-C interrupts as a whole. */
async function npmStart(t: ExecutionContext, checkout: string) {
  const npm = spawn('npm', ['start'], { cwd: checkout, env: environment(checkout), detached: true });
  let stdout = '';
  let stderr = '';
  const ended = once(npm, 'close');
  t.teardown(async () => {
    if (npm.exitCode === null) process.kill(-(npm.pid as number), 'SIGKILL');
    await ended;
  });
  npm.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`npm start: no banner\n${stdout}\n${stderr}`)), TIMEOUT_MS);
    npm.once('close', (code) => reject(new Error(`npm start ended with ${code}\n${stderr}`)));
    npm.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
      if (!stdout.includes('Ctrl-C')) return;
      clearTimeout(timer);
      resolve();
    });
  });
  const interrupt = async (): Promise<number | null> => {
    process.kill(-(npm.pid as number), 'SIGINT');
    const [code] = await ended;
    return code;
  };
  return { stdout: () => stdout, interrupt };
}

function shell(cwd: string, command: string) {
  const { status, stdout, stderr } = spawnSync('sh', ['-c', command], {
    cwd,
    env: environment(cwd),
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
  });
  return { status, stdout, stderr };
}

/** Of a shell: nothing that npm gave to the tests. */
function environment(checkout: string): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('npm_'));
  return { ...Object.fromEntries(inherited), npm_config_cache: join(checkout, 'npm-cache') };
}
