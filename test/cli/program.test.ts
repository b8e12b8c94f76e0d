import test from 'ava';
import { program, runProgram, setExitCode } from '../../src/cli/program.ts';

test.serial('a command that says nothing ends with 0, another with what it says', async (t) => {
  t.is(
    await runProgram(
      program('p').action(() => undefined),
      [],
    ),
    0,
  );
  const command = program('p').action(() => setExitCode(command, 1));
  t.is(await runProgram(command, []), 1);
});

const wrong: readonly [string, readonly string[], string][] = [
  [
    'an unknown flag, with the one that was meant',
    ['run', '--kye', 'x'],
    "p: unknown option '--kye' (Did you mean --key?); see `p run --help`\n",
  ],
  ['an unknown command', ['rnu'], "p: unknown command 'rnu' (Did you mean run?); see `p --help`\n"],
  ['no command', [], 'p: no command is given; see `p --help`\n'],
  ['a flag without its value', ['run', '--key'], "p: option '--key <name>' argument missing; see `p run --help`\n"],
  [
    'an argument too many',
    ['run', 'x'],
    "p: too many arguments for 'run'. Expected 0 arguments but got 1: x.; see `p run --help`\n",
  ],
];
for (const [name, args, text] of wrong) {
  test.serial(`${name} is one line and exit code 2`, async (t) => {
    const command = program('p');
    command
      .command('run')
      .option('--key <name>')
      .action(() => undefined);
    const original = process.stderr.write;
    let written = '';
    process.stderr.write = ((chunk: string) => {
      written += chunk;
      return true;
    }) as typeof process.stderr.write;
    try {
      t.is(await runProgram(command, args), 2);
    } finally {
      process.stderr.write = original;
    }
    t.is(written, text);
  });
}
