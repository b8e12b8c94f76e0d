import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { parse as parseYaml } from 'yaml';
import { parseConfig } from '../../src/config/load.ts';
import {
  CONFIRM_AFTER_MS,
  CONFIRM_JITTER_MS,
  GRACE_WAIT_MS,
  MISS_MS,
  PROBE_INTERVAL_MS,
} from '../../src/keyring/options.ts';
import {
  ATTEMPT_MS,
  CALLS,
  FAILURES_TO_OPEN,
  MAX_RETRIES,
  MAX_THROTTLE_MS,
  PROBE_JITTER_MS,
  PROBE_PAUSE_MS,
} from '../../src/upstream/resilience/limits.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const page = readFileSync(join(ROOT, 'docs', 'outages.md'), 'utf8');
const FILES = [...page.matchAll(/^```yaml\n(.*?)^```/gms)].map(([, text = '']) => text);
/** $0.03 for 10,000. */
const DOLLARS_A_CALL = 0.000003;

interface Written {
  readonly keys: Readonly<Record<string, { readonly cache: object }>>;
}

function says(text: string): boolean {
  return page.replaceAll('\n', ' ').includes(text);
}

test('the three files are good, without a note', (t) => {
  t.is(FILES.length, 3);
  const directory = mkdtempSync(join(tmpdir(), 'dekd-outages-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  // The one place of the files that must exist when they are checked.
  const revocations = join(directory, 'revocations.yaml');
  writeFileSync(revocations, 'revoked: []\n');
  FILES.forEach((text, index) => {
    const file = join(directory, `${index}.yaml`);
    writeFileSync(file, text.replace('/etc/dekd-revocations/revocations.yaml', revocations));
    const args = [join(ROOT, 'src', 'cli', 'dekd.ts'), '--config', file, '--check'];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    t.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  });
});

test('what it says of the defaults are the defaults', (t) => {
  const [text = ''] = FILES;
  const written = parseYaml(text) as Written;
  for (const key of Object.values(written.keys)) Object.assign(key, { cache: {} });
  const { keys, limits } = parseConfig(JSON.stringify({ ...written, revocations: undefined }), 'outages.yaml');
  const { cache } = keys.get('cards')!;
  t.is(cache.ttlMs, 5 * 60_000);
  t.is(cache.graceMs, 3_600_000);
  t.true(says('1 h to 1 h 5 min after the upstream went away') && says('5 min 5 s, while the upstream answers'));
  const { perPrincipal, perKey } = limits.upstreamCalls;
  const quota = [perPrincipal.perSecond, perPrincipal.burst, perKey.perSecond, perKey.burst];
  t.deepEqual(quota, [100, 1_000, 500, 5_000]);
  t.true(says('100 a second and 1,000 at once for each uid, 500 and 5,000 for each key'));
});

test('what it says of times and numbers are the constants', (t) => {
  t.deepEqual([CONFIRM_AFTER_MS, CONFIRM_AFTER_MS + CONFIRM_JITTER_MS], [1_000, 3_000]);
  t.true(says('a second call 1 to 3 s later') && CONFIRM_AFTER_MS + CONFIRM_JITTER_MS + ATTEMPT_MS < 5_000);
  t.deepEqual([PROBE_PAUSE_MS - PROBE_JITTER_MS, PROBE_PAUSE_MS + PROBE_JITTER_MS], [2_400, 3_600]);
  t.true(says('(2.4 to 3.6 s, so that a fleet does not ask in step)') && says('asked again every 5 s'));
  t.deepEqual([PROBE_INTERVAL_MS, GRACE_WAIT_MS, ATTEMPT_MS, MISS_MS], [5_000, 1_000, 1_000, 10_000]);
  t.true(says('may wait 1 s for an answer') && says("the call's deadline, or 10 s") && says('no answer within 1 s'));
  t.deepEqual([MAX_THROTTLE_MS, MAX_RETRIES, FAILURES_TO_OPEN], [30_000, 2, 5]);
  t.true(says('is kept, up to 30 s') && says('at most twice') && says('After five failures in a row a breaker opens'));
  t.deepEqual([CALLS.miss.atOnce, CALLS.refresh.atOnce, CALLS.background.atOnce], [64, 32, 16]);
  t.true(says('At most 64 misses') && says('beside 32 refreshes that calls wait for and 16 in the background'));
});

test('the table of costs adds up, and the default costs at most 350 calls', (t) => {
  const section = page.split('\n## What it costs\n')[1]?.split('\n## ')[0] ?? '';
  const rows = [...section.matchAll(/^\| (.+?) \| ([\d,]+) \| ([\d.]+) \|$/gm)];
  t.is(rows.length, 11);
  for (const [, name = '', calls = '', dollars = ''] of rows) {
    const count = Number(calls.replaceAll(',', ''));
    // Two digits that count.
    t.true(Math.abs(count * DOLLARS_A_CALL - Number(dollars)) <= 0.05 * Number(dollars), name);
    if (name === '`session` (the defaults)') t.true(count <= 350);
  }
  t.true(rows.some(([, name]) => name === '`session` (the defaults)'));
});
