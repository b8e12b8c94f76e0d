/**
 * `npm run test:sanitized [-- --seconds N] [--seed N]`: the addon built under AddressSanitizer and UndefinedBehaviorSanitizer runs all of
 * test/native/ and the fuzzer of every entry point. One report, of whatever process, is a failure. The source never chooses the addon by
 * the environment: a copy of the tree has the sanitized one in its place.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tap } from '../conformance/tap.ts';
import { writePatched } from './write-patched.ts';

const ROOT = join(import.meta.dirname, '..', '..');
/**
 * What is not the addon's to free: OpenSSL keeps an error state for each thread until that ends, and the pool's threads do not; Node-API frees a
 * promise's deferred when it is settled, which a thread that has ended cannot do.
 */
const NOT_OURS = /ossl_err_get_state|napi_create_promise/;

const folder = mkdtempSync(join(tmpdir(), 'dekd-sanitized-'));
const reports = join(folder, 'reports');
const library = asanLibrary();
const tap = new Tap(process.env['CI'] === 'true');
try {
  if (library.startsWith('/')) await run();
  else tap.missing('the addon under the sanitizers', "install gcc's libasan (Fedora: dnf install libasan libubsan)");
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(tap.finish('sanitized'));

async function run(): Promise<void> {
  mkdirSync(reports);
  // For the tests' children of other users, too.
  chmodSync(folder, 0o755);
  chmodSync(reports, 0o777);
  const tree = copyTree('tree');
  await tap.check('the addon compiles under the sanitizers', () => build(tree));
  await tap.check('AddressSanitizer tells of a read past the end', () => seesOverflow());
  await tap.check('UndefinedBehaviorSanitizer tells of an overflow', () => seesUndefined());
  await tap.check('LeakSanitizer tells of a leak', () => {
    const leaky = patched('leak', 'async.c', '  free(job);\n', '');
    if (leaksOf(leaky).length === 0) throw new Error('it does not');
  });
  await tap.check('the addon leaks nothing', () => {
    const found = leaksOf(tree);
    if (found.length > 0) throw new Error(found.join(' '));
  });
  const ava = join('node_modules', 'ava', 'entrypoints', 'cli.js');
  // The tests that scan a whole process would read the sanitizer's 14 TiB of shadow.
  await tap.check('test/native passes on the sanitized addon', () =>
    succeeds(tree, [ava, '--tap', '--timeout=400s', '--match=!after *', 'test/native/*.test.ts']),
  );
  await tap.check('the fuzzer finds nothing on the sanitized addon', () =>
    succeeds(tree, [join('test', 'fuzz', 'native.ts'), ...process.argv.slice(2)]),
  );
  await tap.check('no process of the suites left a report', () => {
    const found = takeReports();
    if (found !== '') throw new Error(found);
  });
}

/** Enough of the tree to run the tests of the addon, without a build. */
function copyTree(name: string): string {
  const to = join(folder, name);
  for (const part of ['src', 'test', 'proto', 'native', 'package.json']) {
    cpSync(join(ROOT, part), join(to, part), {
      recursive: true,
      filter: (path) => path !== join(ROOT, 'native', 'build'),
    });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(to, 'node_modules'));
  return to;
}

/** Puts the sanitized addon of `tree` where the others look for theirs. */
function build(tree: string): void {
  execFileSync('make', ['-s', '-C', join(tree, 'native'), 'sanitized'], { stdio: ['ignore', 'inherit', 'inherit'] });
  const output = join(tree, 'native', 'build');
  copyFileSync(join(output, 'sanitized', 'dekd.node'), join(output, 'dekd.node'));
}

/** Without this a silent sanitizer would pass for clean code. The read is OpenSSL's, so it also proves sanitized.c. */
function seesOverflow(): void {
  mustReport('heap-buffer-overflow', 'args.c', 'out->length = length;', 'out->length = length + 1;', [
    "native.openArena({ size: 4096, lock: 'best-effort' })",
    "native.hmac(native.createKey('raw'), new Uint8Array(1000))",
  ]);
}

function seesUndefined(): void {
  mustReport('signed integer overflow', 'process.c', '(double)now.tv_sec *', '(double)(now.tv_sec + INT64_MAX) *', [
    'native.boottimeMs()',
  ]);
}

/** A copy of the addon with a fault, and calls that meet it. */
function mustReport(report: string, file: string, right: string, wrong: string, calls: readonly string[]): void {
  const tree = patched(report.replaceAll(' ', '-'), file, right, wrong);
  const script = `const native = require('./native/build/dekd.node'); ${calls.join('; ')}`;
  const child = node(tree, ['-e', script], 'pipe');
  const found = takeReports() + child.stderr;
  if (child.status === 0 || !found.includes(report)) throw new Error(`status ${child.status}, report: ${found}`);
}

/** Another tree, whose addon has a fault. */
function patched(name: string, file: string, right: string, wrong: string): string {
  const tree = copyTree(name);
  writePatched(join(tree, 'native', file), right, wrong);
  build(tree);
  return tree;
}

/** What the addon left at the end of a process: node's own leaks have none of our sources among their frames. */
function leaksOf(tree: string): string[] {
  // Without frame pointers node's frames end a stack before the addon's come.
  node(tree, [join('test', 'native', 'job-lives.ts')], 'pipe', ':detect_leaks=1:fast_unwind_on_malloc=0');
  const stacks = takeReports().split('\n\n');
  return stacks.filter((stack) => /\/native\/\w+\.c:\d/.test(stack) && !NOT_OURS.test(stack));
}

function succeeds(tree: string, args: readonly string[]): void {
  const { status, signal } = node(tree, args, 'inherit');
  if (status !== 0) throw new Error(`status ${status ?? signal}`);
}

function node(cwd: string, args: readonly string[], output: 'pipe' | 'inherit', options = ':detect_leaks=0') {
  return spawnSync(process.execPath, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', output, output],
    env: { ...process.env, ...sanitizerEnvironment(options) },
  });
}

/**
 * Node and V8 keep some of what they allocated until the process ends, so leaks are looked for apart; V8 handles its own faults, and tests
 * of ours end children by signals. A file, and not the standard error, takes reports: of a test's children nobody reads that.
 */
function sanitizerEnvironment(options: string): Record<string, string> {
  const common = `log_path=${join(reports, 'report')}:handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigill=0`;
  return {
    LD_PRELOAD: library,
    ASAN_OPTIONS: `${common}:disable_coredump=0:detect_stack_use_after_return=1${options}`,
    UBSAN_OPTIONS: `${common}:print_stacktrace=1`,
  };
}

/** gcc gives the name alone when it has no such file. */
function asanLibrary(): string {
  return execFileSync(process.env['CC'] ?? 'cc', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
}

/** All reports, once. */
function takeReports(): string {
  const files = readdirSync(reports).map((name) => join(reports, name));
  const text = files.map((path) => readFileSync(path, 'utf8')).join('\n');
  for (const path of files) rmSync(path);
  return text;
}
