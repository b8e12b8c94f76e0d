import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import test from 'ava';
import { dekId } from '../../../src/crypto/native.ts';
import { DekdError } from '../../../src/errors.ts';
import { UpstreamFailure } from '../../../src/upstream/failure.ts';
import { live } from '../../contract/upstream-context.ts';
import { fails } from '../../contract/upstream-contract.ts';
import { kekNamed } from './software-kms/options.ts';
import { ANY_WRAPPED, CONTEXT, isRunning, until, World } from './world.ts';

/** How a call to a KEK of that name ends its child, and what the log says of it. */
const ENDS: Readonly<Record<string, RegExp>> = {
  crash: /ended: SIGABRT/,
  exit: /ended: exit code 3/,
  throw: /ended: exit code 70/,
  reject: /ended: exit code 70/,
  'close-control': /(killed: it closed its control channel|ended: )/,
  gulp: /ended: (SIGABRT|SIGTRAP|SIGILL|exit code \d+)/,
  garbage: /killed: it wrote garbage: a frame of \d+ bytes; at most 65536 are allowed/,
  'no-json': /killed: it wrote garbage: a frame of 3 bytes that is not JSON/,
  flood: /killed: it wrote garbage: a frame of 65535 bytes that is not JSON/,
  'wrong-id': /killed: it wrote garbage: an answer to call 4711, which is not under way/,
  'no-answer': /killed: it wrote garbage: no answer to unwrap/,
  'no-key': /killed: it wrote garbage: no key of call 1/,
  'short-key': /killed: it wrote garbage: no key of call 1/,
  'long-key': /killed: it wrote garbage: no key of call 1/,
  'key-of-another': /killed: it wrote garbage: no key of call 1/,
  'strange-failure': /killed: it wrote garbage: no answer to a call/,
  'error-flood': /killed: it wrote without end to its standard error/,
};

for (const [name, why] of Object.entries(ENDS)) {
  test.serial(`a child that does this is gone, its call unreachable, the next call works: ${name}`, async (t) => {
    const world = await World.open(t, { warmChild: false, memoryMib: 64 });
    const [pid] = world.upstream.pids;
    const begun = performance.now();
    const failure = await fails(t, world.unwrap(ANY_WRAPPED, name), 'unreachable');
    t.true(performance.now() - begun < 5_000, 'the call fails when the child does, not when its time is over');
    t.regex(failure!.message, /^the child process is gone: /);
    t.true(await until(() => !isRunning(pid!)));
    t.true(await until(() => world.warnings.some((warning) => why.test(warning))), world.warnings.join('\n'));
    await t.notThrowsAsync(afterPause(world));
    t.false(world.upstream.pids.includes(pid!));
  });
}

test.serial('an answer that comes twice ends the child, though the call got its first', async (t) => {
  const world = await World.open(t, { warmChild: false });
  const [pid] = world.upstream.pids;
  await world.unwrap(ANY_WRAPPED, 'twice');
  t.true(await until(() => !isRunning(pid!)));
  t.true(await until(() => world.warnings.some((warning) => /an answer to call 1, which is not/.test(warning))));
});

test.serial('a child that hangs is killed 200 ms after the call was given up', async (t) => {
  const world = await World.open(t, { warmChild: false });
  const [pid] = world.upstream.pids;
  const begun = performance.now();
  await fails(t, world.unwrap(ANY_WRAPPED, 'hang', AbortSignal.timeout(300)), 'unreachable');
  t.true(performance.now() - begun < 2_000);
  t.true(await until(() => !isRunning(pid!)));
  const tookMs = performance.now() - begun;
  t.true(tookMs >= 490 && tookMs < 3_000, `${tookMs} ms`);
  t.true(await until(() => world.warnings.some((warning) => /it hung: no answer to a cancel/.test(warning))));
});

for (const name of ['never', 'late', 'slow']) {
  test.serial(`a provider that does not listen to its signal keeps its child: ${name}`, async (t) => {
    const world = await World.open(t, { warmChild: false });
    const { pids } = world.upstream;
    await fails(t, world.unwrap(ANY_WRAPPED, name, AbortSignal.timeout(50)), 'unreachable');
    await setTimeout(500);
    await world.use();
    t.deepEqual(world.upstream.pids, pids);
    t.deepEqual(world.warnings, []);
  });
}

test.serial('a failure comes as the provider said it', async (t) => {
  const world = await World.open(t);
  const failure = await fails(t, world.unwrap(ANY_WRAPPED, 'throttled'), 'throttled');
  t.is(failure!.message, 'too many requests');
  t.is(failure!.retryAfterMs, 1_500);
  const unknown = await fails(t, world.unwrap(ANY_WRAPPED, 'unknown'), 'unreachable');
  t.notRegex(unknown!.message, /not an UpstreamFailure/);
  const missing = await fails(t, world.upstream.describe(kekNamed('missing'), live()), 'refused', 'kek');
  t.is(missing!.condition, 'missing');
});

test.serial('what a child writes to its standard error is logged, scrubbed', async (t) => {
  const world = await World.open(t, { warmChild: false });
  const [pid] = world.upstream.pids;
  await fails(t, world.unwrap(ANY_WRAPPED, 'chatter'), 'refused', 'kek');
  t.true(await until(() => world.warnings.length === 2));
  t.regex(
    world.warnings[0]!,
    new RegExp(`^child process ${pid} wrote: debug: token hvs\\.\\[…\\] +\\[2Jof x{100,500}…$`),
  );
  t.is(world.warnings[1], `child process ${pid} wrote: second line`);
});

test.serial('what a stray error says is logged without what looks like a secret', async (t) => {
  const world = await World.open(t, { warmChild: false });
  await fails(t, world.unwrap(ANY_WRAPPED, 'throw'), 'unreachable');
  t.true(await until(() => world.warnings.length === 2));
  t.regex(world.warnings[0]!, /wrote: not caught: Error: \[…\]$/);
});

test.serial('128 calls are under way at once, and no more', async (t) => {
  const world = await World.open(t, { warmChild: false });
  const dek = world.dek();
  const wrapped = await world.wrap(dek, 'slow');
  const calls = Array.from({ length: 129 }, () => world.unwrap(wrapped, 'slow').catch((error: unknown) => error));
  const answers = await Promise.all(calls);
  const failures = answers.filter((answer) => answer instanceof DekdError);
  t.deepEqual(
    failures.map(({ reason, retryAfterMs }) => [reason, retryAfterMs]),
    [['QUOTA_EXCEEDED', 1_000]],
    'our own shortage, and no failure of the upstream',
  );
  t.true(answers.every((answer) => answer instanceof Error || dekId(dek).equals(answer as Buffer)));
  await world.use();
});

test.serial('each call gets its own DEK, whatever the order of the answers', async (t) => {
  const world = await World.open(t, { warmChild: false });
  const deks = Array.from({ length: 20 }, () => world.dek());
  const wrapped = await Promise.all(deks.map((dek, at) => world.wrap(dek, at % 3 === 0 ? 'slow' : 'orders')));
  const ids = await Promise.all(wrapped.map((one, at) => world.unwrap(one, at % 3 === 0 ? 'slow' : 'orders')));
  t.deepEqual(ids, deks.map(dekId));
});

test.serial('a wrapped DEK that no frame holds is invalid, and harms nobody', async (t) => {
  const world = await World.open(t, { warmChild: false });
  const { pids } = world.upstream;
  await fails(t, world.unwrap({ ...ANY_WRAPPED, bytes: Buffer.alloc(60_000) }), 'invalid');
  await world.use();
  t.deepEqual(world.upstream.pids, pids);
});

test.serial('a child is hardened, limited, and has only what it needs', async (t) => {
  const world = await World.open(t, { warmChild: false, memoryMib: 64 });
  const [pid] = world.upstream.pids;
  const limits = readFileSync(`/proc/${pid}/limits`, 'utf8');
  t.regex(limits, /Max core file size +0 +0 /);
  t.regex(limits, /Max open files +256 +256 /);
  const [, data] = /Max data size +(\d+) /.exec(limits)!;
  const [, used] = /VmData:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!;
  t.true(Number(data) - Number(used) * 1024 <= 64 * 2 ** 20, `${data} bytes, ${used} kB in use`);
  if (process.getuid?.() === 0) {
    const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').filter(Boolean);
    // Node itself hands NODE_V8_COVERAGE on while coverage is measured.
    const expected = /^(NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|SSL_CERT_DIR|NODE_V8_COVERAGE)=/;
    t.deepEqual(
      environment.filter((variable) => !expected.test(variable)),
      [],
    );
  }
  t.regex(readFileSync(`/proc/${pid}/cmdline`, 'utf8'), /^dekd-upstream\0--disable-sigusr1\0.*--permission\0/);
});

test.serial('a child may neither read nor write files, start nothing and load no more native code', async (t) => {
  const world = await World.open(t, { warmChild: false });
  const { labels } = await world.upstream.describe(kekNamed('orders'), live());
  t.is(labels.get('denied'), 'addons, read a file, start a process, start a thread, write a file');
});

/** A child that failed is started again after a pause of at most 100 ms. */
async function afterPause(world: World): Promise<void> {
  for (const end = performance.now() + 10_000; ; await setTimeout(20)) {
    try {
      await world.upstream.wrap(kekNamed('orders'), world.dek(), CONTEXT, live());
      return;
    } catch (error) {
      if (performance.now() > end || !(error instanceof UpstreamFailure)) throw error;
    }
  }
}
