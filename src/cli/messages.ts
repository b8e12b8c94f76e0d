// Rules for every text that dekd and dekctl show to people:
// - An error is one line on stderr: `PROGRAM: what is wrong; the way out`. Lower case after the prefix, no full stop at the end.
// - It names the thing at fault (path, flag, field) as the user wrote it, and the way out as something to type or to change.
// - An error of the agent keeps its reason: `dekctl: INVALID_CIPHERTEXT: …`, so that it can be searched for.
// - Notes (`PROGRAM: note: …`) go to stderr too: stdout carries results and nothing else.
// - What others wrote (an agent, a file) is shown without control characters, so that it can neither break a line nor move a cursor.
// - No key, plaintext or associated data, ever.

import { DekdError } from '../errors.ts';
import { EXIT, EXIT_BY_REASON, type ExitCode } from './exit-codes.ts';

/** What a command ends with when it cannot do what was asked. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Shows an error (a line for each line of its message) and says how the process must end. */
export function report(program: string, thrown: unknown): ExitCode {
  const { message, exitCode } = describe(thrown);
  for (const line of message.split('\n')) process.stderr.write(`${program}: ${printable(line)}\n`);
  return exitCode;
}

/**
 * The same for what kept dekd from starting once its flags and configuration were read: always EXIT.failure. Which reason a store or
 * socket gives says nothing here about who is at fault, nor that another start would help.
 */
export function reportStart(program: string, thrown: unknown): ExitCode {
  return report(program, new CliError(EXIT.failure, describe(thrown).message));
}

export function note(program: string, text: string): void {
  process.stderr.write(`${program}: note: ${text}\n`);
}

/** One line without control characters: terminals obey them. */
export function printable(text: string): string {
  return text.replace(/\p{C}/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** `ENOENT` as a person says it. */
export function systemProblem(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  return SYSTEM_PROBLEMS[code ?? ''] ?? `failed (${code ?? 'unknown error'})`;
}

const SYSTEM_PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or directory',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'is a directory',
  ENOTDIR: 'a part of the path is not a directory',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space left on the device',
  EMFILE: 'too many open files',
};

function describe(thrown: unknown): { message: string; exitCode: ExitCode } {
  if (thrown instanceof CliError) return thrown;
  if (thrown instanceof DekdError) {
    const { reason, message } = thrown;
    const exitCode = EXIT_BY_REASON[reason];
    return { message: exitCode === EXIT.usage ? message : `${reason}: ${message}`, exitCode };
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return { message: printable(message), exitCode: EXIT.failure };
}
