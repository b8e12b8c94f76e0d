import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { systemClock } from '../../../src/upstream/local/clock.ts';

test("the system's clocks go on, and a timer runs once unless it is cancelled", async (t) => {
  const bootMs = systemClock.bootMs();
  t.true(Math.abs(systemClock.wallMs() - Date.now()) < 1000);
  const runs: string[] = [];
  const cancel = systemClock.after(1, () => runs.push('cancelled'));
  cancel();
  await new Promise<void>((resolve) => {
    // Timers of the clock do not keep the process alive; this one does.
    const alive = setTimeout(() => undefined, 10_000);
    systemClock.after(20, () => {
      clearTimeout(alive);
      runs.push('ran');
      resolve();
    });
  });
  t.deepEqual(runs, ['ran']);
  t.true(systemClock.bootMs() - bootMs >= 19);
});

test('a timer does not keep the process alive', (t) => {
  const clock = fileURLToPath(new URL('../../../src/upstream/local/clock.ts', import.meta.url));
  const script = `import(${JSON.stringify(clock)}).then(({ systemClock }) => systemClock.after(600_000, () => {}));`;
  const { status, signal } = spawnSync(process.execPath, ['-e', script], { timeout: 30_000 });
  t.is(signal, null);
  t.is(status, 0);
});
