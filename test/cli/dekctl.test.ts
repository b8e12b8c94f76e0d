import test from 'ava';
import { packageVersion } from '../../src/cli/version.ts';
import { dekctl } from './run.ts';

test('--version and --help answer at once', async (t) => {
  t.deepEqual(await dekctl(['--version']), { code: 0, stdout: Buffer.from(`${packageVersion()}\n`), stderr: '' });
  const help = await dekctl(['--help']);
  t.is(help.code, 0);
  t.is(help.stderr, '');
  for (const command of [
    'encrypt',
    'decrypt',
    'generate-data-key',
    'inspect',
    'describe',
    'status',
    'health',
    'keys',
  ]) {
    t.regex(help.stdout.toString(), new RegExp(`^ {2}${command}\\b`, 'm'));
  }
});

const wrong: readonly [readonly string[], number, RegExp][] = [
  [[], 2, /^dekctl: no command is given; see `dekctl --help`$/],
  [['frobnicate'], 2, /^dekctl: unknown command 'frobnicate'; see `dekctl --help`$/],
  [['encrypt'], 2, /^dekctl: required option '--key <name>' not specified; see/],
  [['encrypt', '--key', 'k', '--contxt', 'a=b'], 2, /unknown option '--contxt' \(Did you mean --context\?\)/],
  [['encrypt', '--key', 'k', '--context', 'tenant'], 2, /^dekctl: --context tenant: expected NAME=VALUE/],
  [['encrypt', '--key', 'k', '--timeout', '5 parsecs'], 2, /^dekctl: --timeout 5 parsecs: expected a duration/],
  [['encrypt', '--key', 'k', '--socket', 's'.repeat(200)], 2, /^dekctl: the socket's path has 200 bytes/],
  [
    ['encrypt', '--key', 'k', '--socket', '/nowhere/s'],
    3,
    /^dekctl: no agent listens on \/nowhere\/s; start one with `npm start`/,
  ],
  [['encrypt', '--key', 'k', '--in', '/nowhere/f'], 8, /^dekctl: \/nowhere\/f: no such file or directory$/],
  [['describe'], 2, /missing required argument 'key'/],
  [['keys'], 2, /no command is given/],
];
for (const [args, code, line] of wrong) {
  test(`dekctl ${args.join(' ').slice(0, 60)}: one line, exit code ${code}`, async (t) => {
    const result = await dekctl(args);
    t.regex(result.stderr.trimEnd(), line);
    t.is(result.stderr.trimEnd().split('\n').length, 1);
    t.is(result.stdout.length, 0);
    t.is(result.code, code);
  });
}
