import type { Command } from 'commander';
import type { BackupFlags } from './commands/keystore-backup.ts';
import type { ChangeRootKeyFlags } from './commands/keystore-change-root-key.ts';
import type { CheckFlags } from './commands/keystore-check.ts';
import type { RestoreFlags } from './commands/keystore-restore.ts';

/** `dekctl keystore …`: the store of a local upstream, for whoever keeps it. */
export function addKeystoreCommands(dekctl: Command): void {
  const keystore = dekctl.command('keystore').description("check, back up and restore a local upstream's keystore");
  withRootKey(keystore.command('check'))
    .description('verify every record and key of a keystore that no agent has open, without changing it')
    .requiredOption('--directory <directory>', "the upstream's directory")
    .action(async (_, command: Command) => {
      const { checkKeystoreCommand } = await import('./commands/keystore-check.ts');
      checkKeystoreCommand(command.optsWithGlobals<CheckFlags>());
    });
  keystore
    .command('backup')
    .description("write a consistent copy of a running agent's keystore (administration socket)")
    .requiredOption('--out <file>', 'a new file, of mode 0600')
    .option('--upstream <name>', 'the upstream whose store it is (default: the only local one)')
    .option('--force', 'replace a file that exists')
    .action(async (_, command: Command) => {
      const { backupKeystore } = await import('./commands/keystore-backup.ts');
      await backupKeystore(command.optsWithGlobals<BackupFlags>());
    });
  withRootKey(keystore.command('restore'))
    .description('put a verified backup into a directory without a store')
    .requiredOption('--from <file>', 'the backup')
    .requiredOption('--directory <directory>', "the upstream's directory; made when absent")
    .option('--replace', 'where a store is: keep it beside the restored one, under another name')
    .action(async (_, command: Command) => {
      const { restoreKeystoreCommand } = await import('./commands/keystore-restore.ts');
      restoreKeystoreCommand(command.optsWithGlobals<RestoreFlags>());
    });
  withRootKey(withRootKey(keystore.command('change-root-key'), 'old '), 'new ')
    .description('wrap every KEK of a keystore that no agent has open under another root key')
    .requiredOption('--directory <directory>', "the upstream's directory")
    .action(async (_, command: Command) => {
      const { changeRootKeyCommand } = await import('./commands/keystore-change-root-key.ts');
      changeRootKeyCommand(command.optsWithGlobals<ChangeRootKeyFlags>());
    });
}

/** One of the four names where the root key comes from; root-key-flags.ts reads them. */
function withRootKey(command: Command, which: '' | 'old ' | 'new ' = ''): Command {
  const prefix = which.replace(' ', '-');
  return command
    .option(`--${prefix}root-key <file>`, `the ${which}root key: a file of 32 bytes`)
    .option(`--${prefix}credential <name>`, `the ${which}root key: a systemd credential of 32 bytes`)
    .option(`--${prefix}passphrase-file <file>`, `the passphrase that makes the ${which}root key`)
    .option(`--${prefix}passphrase-credential <name>`, 'the same in a systemd credential');
}
