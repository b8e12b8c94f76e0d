import { Command, CommanderError, Option } from 'commander';
import { EXIT, type ExitCode } from './exit-codes.ts';
import { CliError, report } from './messages.ts';

/** A commander program whose errors are one line with the way out, and which never ends the process itself. */
export function program(name: string): Command {
  return new Command(name)
    .exitOverride()
    .showSuggestionAfterError(true)
    .configureOutput({ outputError: () => undefined, writeErr: () => undefined });
}

/** Parses and runs; everything thrown becomes one line on stderr and an exit code. */
export async function runProgram(command: Command, argv: readonly string[]): Promise<ExitCode> {
  let exitCode: ExitCode = EXIT.ok;
  try {
    await command.parseAsync([...argv], { from: 'user' });
    exitCode = (command.getOptionValue(EXIT_CODE) as ExitCode | undefined) ?? EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
    const shown = error instanceof CommanderError ? usageError(namedCommand(command, argv), error) : error;
    exitCode = report(command.name(), shown);
  }
  return exitCode;
}

/** A flag that may be given more than once: its values in their order. */
export function repeatable(flags: string, description: string): Option {
  return new Option(flags, description).argParser((value: string, previous: string[] | undefined) => [
    ...(previous ?? []),
    value,
  ]);
}

/** For a command that succeeded and yet must not end with 0: `health`. */
export function setExitCode(command: Command, exitCode: ExitCode): void {
  command.setOptionValue(EXIT_CODE, exitCode);
}

const EXIT_CODE = 'exit code';

/** `dekctl keys create`: how the command that the arguments begin with is called, whose `--help` helps. */
function namedCommand(command: Command, argv: readonly string[]): string {
  const [first, ...rest] = argv;
  const next = command.commands.find((candidate) => candidate.name() === first);
  return next === undefined ? command.name() : `${command.name()} ${namedCommand(next, rest)}`;
}

/** `error: unknown option '--kye'\n(Did you mean --key?)` → one line. */
function usageError(name: string, error: CommanderError): CliError {
  if (error.code === 'commander.help') {
    return new CliError(EXIT.usage, `no command is given; see \`${name} --help\``);
  }
  const text = error.message.replace(/^error: /, '').replaceAll('\n', ' ');
  return new CliError(EXIT.usage, `${text}; see \`${name} --help\``);
}
