import { type Command, Option } from 'commander';
import type { CreateKeyFlags } from './commands/keys-create.ts';
import type { ScheduleDeletionFlags } from './commands/keys-deletion.ts';
import type { GlobalFlags, KekFlags } from './flags.ts';
import { repeatable } from './program.ts';

/** A key's life, on the administration socket. */
export function addKeyCommands(dekctl: Command): void {
  const keys = dekctl.command('keys').description("a key's life: list, create, rotate, disable, archive, delete");
  addMaking(keys);
  addStates(keys);
  addDeletion(keys);
}

function addMaking(keys: Command): void {
  keys
    .command('list')
    .description('the keys that you may see')
    .action(async (_, command: Command) => {
      const { listKeys } = await import('./commands/keys-list.ts');
      await listKeys(command.optsWithGlobals<GlobalFlags>());
    });
  keys
    .command('describe')
    .description('a key with every version of its KEKs: state, age, expiry, deletion, labels')
    .argument('<key>')
    .action(async (key: string, _, command: Command) => {
      const { describeKeyForAdmin } = await import('./commands/keys-describe.ts');
      await describeKeyForAdmin(key, command.optsWithGlobals<GlobalFlags>());
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

function addStates(keys: Command): void {
  keys
    .command('disable')
    .description('refuse every use of a key, also with DEKs in memory, until it is enabled')
    .argument('<key>')
    .addOption(oneKek())
    .action(async (key: string, _, command: Command) => {
      const { disableKey } = await import('./commands/keys-state.ts');
      await disableKey(key, command.optsWithGlobals<KekFlags>());
    });
  keys
    .command('enable')
    .description('a disabled key returns to what it was, an archived one encrypts again (custodians)')
    .argument('<key>')
    .addOption(oneKek())
    .action(async (key: string, _, command: Command) => {
      const { enableKey } = await import('./commands/keys-state.ts');
      await enableKey(key, command.optsWithGlobals<KekFlags>());
    });
  keys
    .command('archive')
    .description('a key that only decrypts, for rules with archived: true (custodians)')
    .argument('<key>')
    .addOption(oneKek())
    .action(async (key: string, _, command: Command) => {
      const { archiveKey } = await import('./commands/keys-state.ts');
      await archiveKey(key, command.optsWithGlobals<KekFlags>());
    });
}

function addDeletion(keys: Command): void {
  keys
    .command('schedule-deletion')
    .description('destroy a key after a waiting period; takes two custodians, each with this command')
    .argument('<key>')
    .addOption(oneKek())
    .option('--waiting-period <duration>', '7d to 30d', '30d')
    .action(async (key: string, _, command: Command) => {
      const { scheduleDeletion } = await import('./commands/keys-deletion.ts');
      await scheduleDeletion(key, command.optsWithGlobals<ScheduleDeletionFlags>());
    });
  keys
    .command('cancel-deletion')
    .description('withdraw what schedule-deletion asked for (custodians)')
    .argument('<key>')
    .addOption(oneKek())
    .action(async (key: string, _, command: Command) => {
      const { cancelDeletion } = await import('./commands/keys-deletion.ts');
      await cancelDeletion(key, command.optsWithGlobals<KekFlags>());
    });
}

function oneKek(): Option {
  return new Option(
    '--kek <reference>',
    'one KEK of the key, also of its decrypt_with, such as local:NAME (default: all that wrap)',
  );
}
