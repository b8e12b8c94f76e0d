// The proof that a DEK which an upstream unwraps, or wraps, never lies in the agent's readable memory, and is gone with the child.
import { type ChildProcess, spawn } from 'node:child_process';
import { createDecipheriv, createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { encodePairs } from '../../src/crypto/context.ts';
import { childPids } from '../helpers/child-pids.ts';
import { requireRoot } from '../helpers/require-root.ts';
import { keyNeedles, scanMemory } from '../helpers/scan-memory.ts';
import { test } from '../helpers/serial.ts';
import { kekNamed } from '../upstream/child/software-kms/options.ts';
import type { Report } from './child-upstream-agent.ts';

const WHY = 'an agent is not dumpable, only root may read its memory';

test('no DEK lies in the readable memory of an agent whose upstream is in a child, and the child that saw them ends', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { agent, report } = await startUser(t, []);
  const children = childPids(agent.pid!);
  t.is(children.length, 2, 'the child that serves and its successor');
  t.is(report.memoryKind, 'memfd_secret');
  const needles = report.wrapped.flatMap((wrapped, at) => keyNeedles(`DEK ${at}`, unwrapHere(wrapped)));
  const { findings, scannedBytes } = scanMemory(agent.pid!, needles);
  t.deepEqual(findings, []);
  t.true(scannedBytes > 20 * 2 ** 20, 'the scan read the agent');

  const inChildren = children.map((pid) => ({
    pid,
    rss: rssMib(pid),
    found: scanMemory(pid, needles).findings.length,
  }));
  t.log(`copies in the children while they live, RSS: ${inChildren.map(({ found, rss }) => `${found}, ${rss} MiB`)}`);
  t.true(inChildren[0]!.found > 0, 'an SDK leaves copies: else there would be no need of a child');
  t.is(inChildren[1]!.found, 0, 'the successor never saw them');
  agent.kill('SIGUSR2');
  for (const end = Date.now() + 5_000; isRunning(children[0]!) && Date.now() < end; ) await sleep(20);
  t.false(isRunning(children[0]!), 'gone when its calls are used up');
  t.true(childPids(agent.pid!).includes(children[1]!));
});

test('control: in memory that root can read a DEK that is held is found, in the arena', async (t) => {
  if (!requireRoot(t, WHY)) return;
  const { agent, report } = await startUser(t, ['--ordinary-memory', '--hold']);
  t.is(report.memoryKind, 'mlock');
  const needles = report.wrapped.flatMap((wrapped, at) => keyNeedles(`DEK ${at}`, unwrapHere(wrapped)));
  const { findings } = scanMemory(agent.pid!, needles);
  t.true(findings.some(({ needle }) => /^DEK \d+, raw/.test(needle)));
  t.true(
    findings.every(({ needle }) => / raw, /.test(needle)),
    'raw, in the arena; never hex or base64',
  );
});

test('whatever ends a child, no slot stays taken', async (t) => {
  const { report } = await startUser(t, ['--end-children']);
  t.is(report.slotsUsed, 0);
});

test('children end with their agent, however it ends', async (t) => {
  const { agent } = await startUser(t, []);
  const children = childPids(agent.pid!);
  t.is(children.length, 2);
  // One that hangs does not see that its channel was closed.
  process.kill(children[0]!, 'SIGSTOP');
  agent.kill('SIGKILL');
  for (const end = Date.now() + 5_000; children.some(isRunning) && Date.now() < end; ) await sleep(20);
  t.false(children.some(isRunning));
});

async function startUser(t: ExecutionContext, flags: string[]): Promise<{ agent: ChildProcess; report: Report }> {
  const program = join(import.meta.dirname, 'child-upstream-agent.ts');
  const agent = spawn(process.execPath, [program, ...flags], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(async () => {
    if (agent.exitCode !== null || agent.signalCode !== null) return;
    const ended = new Promise((resolve) => agent.once('exit', resolve));
    agent.stdin!.end();
    await ended;
  });
  for await (const line of createInterface(agent.stdout!)) return { agent, report: JSON.parse(line) as Report };
  throw new Error('the agent ended without a report');
}

/** By other code than the provider's. */
function unwrapHere(wrapped: string): Buffer {
  const bytes = Buffer.from(wrapped, 'base64');
  const key = createHash('sha256').update(kekNamed('orders')).digest();
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12));
  decipher.setAAD(encodePairs(new Map([['dekd:key', 'orders']]))).setAuthTag(bytes.subarray(44));
  return Buffer.concat([decipher.update(bytes.subarray(12, 44)), decipher.final()]);
}

function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

function rssMib(pid: number): number {
  const [, kib] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!;
  return Math.round(Number(kib) / 1024);
}
