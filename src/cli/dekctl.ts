import { type Command, Option } from 'commander';
import type { DecryptFlags } from './commands/decrypt.ts';
import type { EncryptFlags } from './commands/encrypt.ts';
import type { GenerateDataKeyFlags } from './commands/generate-data-key.ts';
import type { HealthFlags } from './commands/health.ts';
import type { InspectFlags } from './commands/inspect.ts';
import type { CreateKeyFlags } from './commands/keys-create.ts';
import type { GlobalFlags } from './flags.ts';
import { program, runProgram, setExitCode } from './program.ts';
import { packageVersion } from './version.ts';

// Each command's module is loaded when it runs: gRPC alone takes longer to load than most commands to answer.

const dekctl = program('dekctl')
  .description('Command-line client of dekd, the per-pod key agent.')
  .version(packageVersion(), '-V, --version', 'print the version')
  .helpOption('-h, --help', 'print this help')
  .option('--socket <path>', "the agent's socket (DEKD_SOCKET; default ./.dekd/agent.sock, else /run/dekd/agent.sock)")
  .option('--admin-socket <path>', 'the socket for administration (DEKD_ADMIN_SOCKET; default admin.sock likewise)')
  .option('--timeout <duration>', 'how long to wait for an answer', '10s')
  .option('--json', 'print JSON, bytes in base64')
  .addHelpText('after', '\nExit codes and examples: docs/command-line.md');

addDataCommands();
addLookingCommands();
addKeyCommands(dekctl.command('keys').description('list, create and rotate keys (administration socket)'));

process.exitCode = await runProgram(dekctl, process.argv.slice(2));

function addDataCommands(): void {
  withBinding(dekctl.command('encrypt'))
    .description('encrypt standard input (or --in) under a key')
    .requiredOption('--key <name>', 'the key to encrypt under')
    .option('--in <file>', 'read the plaintext from a file')
    .option('--out <file>', 'write the ciphertext to a file')
    .option('--force', 'write bytes even to a terminal')
    .action(async (_, command: Command) => {
      const { encrypt } = await import('./commands/encrypt.ts');
      await encrypt(command.optsWithGlobals<EncryptFlags>());
    });
  withBinding(dekctl.command('decrypt'))
    .description('open what encrypt or generate-data-key made')
    .option('--expected-key <name>', 'refuse a ciphertext of another key')
    .option('--in <file>', 'read the ciphertext from a file')
    .option('--out <file>', 'write the plaintext to a new file of mode 0600')
    .option('--force', 'write the plaintext even to a terminal or over an existing file')
    .action(async (_, command: Command) => {
      const { decrypt } = await import('./commands/decrypt.ts');
      await decrypt(command.optsWithGlobals<DecryptFlags>());
    });
  withBinding(dekctl.command('generate-data-key'))
    .description('make a data key for your own use, in the clear and encrypted')
    .requiredOption('--key <name>', 'the key to encrypt it under')
    .option('--bytes <number>', 'its length, 1 to 1024', '32')
    .option('--out-ciphertext <file>', 'write the encrypted data key to a file')
    .option('--out <file>', 'write the clear data key to a new file of mode 0600')
    .option('--without-plaintext', 'make the encrypted data key only')
    .option('--force', 'write the clear data key even to a terminal or over an existing file')
    .action(async (_, command: Command) => {
      const { generateDataKey } = await import('./commands/generate-data-key.ts');
      await generateDataKey(command.optsWithGlobals<GenerateDataKeyFlags>());
    });
}

function addLookingCommands(): void {
  dekctl
    .command('inspect')
    .description('show the public parts of a ciphertext, without an agent')
    .option('--in <file>', 'read the ciphertext from a file')
    .action(async (_, command: Command) => {
      const { inspect } = await import('./commands/inspect.ts');
      inspect(command.optsWithGlobals<InspectFlags>());
    });
  dekctl
    .command('describe')
    .description('show a key: state, suite, recipients, ages')
    .argument('<key>')
    .action(async (key: string, _, command: Command) => {
      const { describe } = await import('./commands/describe.ts');
      await describe(key, command.optsWithGlobals<GlobalFlags>());
    });
  dekctl
    .command('status')
    .description('show what the agent holds and how its upstreams are (administration socket)')
    .action(async (_, command: Command) => {
      const { status } = await import('./commands/status.ts');
      await status(command.optsWithGlobals<GlobalFlags>());
    });
  dekctl
    .command('health')
    .description('end with 0 when the agent serves, with 1 when it does not')
    .option('--service <name>', 'the service to ask for; empty for the process alone', 'dekd.v1.KeyAgent')
    .action(async (_, command: Command) => {
      const { health } = await import('./commands/health.ts');
      setExitCode(dekctl, await health(command.optsWithGlobals<HealthFlags>()));
    });
}

function addKeyCommands(keys: Command): void {
  keys
    .command('list')
    .description('the keys that you may see')
    .action(async (_, command: Command) => {
      const { listKeys } = await import('./commands/keys-list.ts');
      await listKeys(command.optsWithGlobals<GlobalFlags>());
    });
  keys
    .command('create')
    .description('make a KEK in a local upstream')
    .argument('<name>')
    .option('--upstream <name>', 'the upstream to make it in (default: the only one)')
    .addOption(repeatable('--label <name=value>', 'a label; may be repeated'))
    .action(async (name: string, _, command: Command) => {
      const { createKey } = await import('./commands/keys-create.ts');
      await createKey(name, command.optsWithGlobals<CreateKeyFlags>());
    });
  keys
    .command('rotate')
    .description('a new KEK version where the upstream is local, and new DEKs')
    .argument('<key>')
    .action(async (key: string, _, command: Command) => {
      const { rotateKey } = await import('./commands/keys-rotate.ts');
      await rotateKey(key, command.optsWithGlobals<GlobalFlags>());
    });
}

function withBinding(command: Command): Command {
  return command
    .addOption(repeatable('--context <name=value>', 'an entry of the encryption context; may be repeated'))
    .option('--aad <text>', 'associated data: authenticated, neither encrypted nor stored')
    .option('--aad-file <file>', 'associated data from a file');
}

function repeatable(flags: string, description: string): Option {
  return new Option(flags, description).argParser((value: string, previous: string[] | undefined) => [
    ...(previous ?? []),
    value,
  ]);
}
